"""Products on a terminal."""

from collections.abc import Sequence

from rich.table import Table

from clients.results import Product, SimilarProduct
from clients.tables.terminal import listing, plain


def product_table(products: Sequence[Product]) -> Table:
    """Part of the catalogue."""
    table = listing()
    table.add_column("Product id", overflow="fold")
    table.add_column("Product", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("Brand", overflow="ellipsis", no_wrap=True, max_width=16)
    table.add_column("Reviews", justify="right")
    table.add_column("Mean rating", justify="right")
    for product in products:
        mean = f"{product.mean_rating:.2f}" if product.review_count else "–"
        table.add_row(
            plain(product.product_id), plain(product.name), plain(product.brand), f"{product.review_count:,}", mean
        )
    return table


def similar_table(products: Sequence[SimilarProduct]) -> Table:
    """Neighbours, nearest first."""
    table = listing()
    table.add_column("#", justify="right")
    table.add_column("Product", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("Brand", overflow="ellipsis", no_wrap=True, max_width=16)
    table.add_column("Similarity", justify="right")
    table.add_column("Product id", overflow="fold")
    for place, similar in enumerate(products, start=1):
        product = similar.product
        table.add_row(
            str(place),
            plain(product.name),
            plain(product.brand),
            f"{similar.similarity:.4f}",
            plain(product.product_id),
        )
    return table


def product_fields(product: Product) -> dict[str, str]:
    """One product."""
    return {
        "Product id": product.product_id,
        "Name": product.name,
        "Brand": product.brand or "–",
        "Categories": product.categories or "–",
        "Manufacturer": product.manufacturer or "–",
        "Reviews": f"{product.review_count:,}",
        "Mean rating": f"{product.mean_rating:.2f}" if product.review_count else "–",
    }
