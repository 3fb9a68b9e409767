"""Recommendations on a terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from clients.results import Explanation, PopularitySource, Recommendation, Timing
from clients.tables.terminal import listing, plain

_POPULARITY = {
    PopularitySource.LIVE: " · live popularity",
    PopularitySource.RELEASE: " · popularity of the training period",
    PopularitySource.NONE: "",
    PopularitySource.UNSPECIFIED: "",
}


def recommendation_table(products: Sequence[Recommendation], first_place: int = 1) -> Table:
    """Products, best first."""
    table = listing()
    table.add_column("#", justify="right")
    table.add_column("Product", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("Brand", overflow="ellipsis", no_wrap=True, max_width=16)
    table.add_column("Predicted rating", justify="right")
    table.add_column("Score", justify="right")
    table.add_column("Product id", overflow="fold")
    for place, product in enumerate(products, start=first_place):
        numbers = (f"{product.predicted_rating:.2f}", f"{product.score:.4f}")
        table.add_row(str(place), plain(product.name), plain(product.brand), *numbers, plain(product.product_id))
    return table


def explanation_table(products: Sequence[Recommendation], first_place: int = 1) -> Table:
    """What each part of what is known adds to a product's score: the score less the score without the part."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("#", justify="right")
    for title in ("Score", "ALS adds", "Reviews' text adds", "Popularity adds"):
        table.add_column(title, justify="right")
    table.add_column("Nearest reviewed product", overflow="fold")
    table.add_column("Similarity", justify="right")
    for place, product in enumerate(products, start=first_place):
        if explanation := product.explanation:
            table.add_row(str(place), f"{product.score:.4f}", *_explanation_cells(product.score, explanation))
    return table


def answer_line(
    release_id: str,
    latency_ms: float,
    timing: Timing | None = None,
    popularity: PopularitySource = PopularitySource.UNSPECIFIED,
) -> Text:
    """Which release answered, how fast, and with which popularity."""
    line = f"release {release_id} · answered in {latency_ms:.1f} ms"
    if timing:
        parts = (
            f"queue {timing.queue_ms:.2f}, features {timing.feature_lookup_ms:.2f}, compute {timing.compute_ms:.2f} ms"
        )
        line += f" ({parts})"
    return Text(line + _POPULARITY[popularity], style="dim")


def _explanation_cells(score: float, explanation: Explanation) -> list[Text]:
    parts = (explanation.score_without_als, explanation.score_without_bert, explanation.score_without_popularity)
    cells = [Text(f"{score - without:+.4f}") for without in parts]
    if not explanation.nearest_reviewed_product_id:
        return [*cells, Text("–"), Text("–")]
    return [
        *cells,
        plain(explanation.nearest_reviewed_product_id),
        Text(f"{explanation.nearest_reviewed_similarity:.4f}"),
    ]
