"""Products on a terminal."""

from collections.abc import Sequence

from clients.results import Product, SimilarProduct
from clients.tables.terminal import fields_table, listing, plain
from twotower.terminal import Listing


def product_table(products: Sequence[Product]) -> Listing:
    """A part of the catalogue."""
    table = listing("Product id", "Product", "Brand", "Reviews", "Mean rating")
    for product in products:
        texts = map(plain, (product.product_id, product.name, product.brand))
        table.add_row(*texts, f"{product.review_count:,}", _mean_rating(product))
    return table


def similar_table(products: Sequence[SimilarProduct]) -> Listing:
    """Neighbours, nearest first."""
    table = listing("#", "Product", "Brand", "Similarity", "Product id")
    for rank, similar in enumerate(products, start=1):
        product = similar.product
        similarity = f"{similar.similarity:.4f}"
        table.add_row(str(rank), plain(product.name), plain(product.brand), similarity, plain(product.product_id))
    return table


def product_fields(product: Product) -> Listing:
    """One product."""
    fields = {
        "Product id": product.product_id,
        "Name": product.name,
        "Brand": product.brand or "–",
        "Categories": product.categories or "–",
        "Manufacturer": product.manufacturer or "–",
        "Reviews": f"{product.review_count:,}",
        "Mean rating": _mean_rating(product),
    }
    return fields_table(fields)


def _mean_rating(product: Product) -> str:
    return f"{product.mean_rating:.2f}" if product.review_count else "–"
