"""Recommendations on a terminal."""

from collections.abc import Sequence

from rich.text import Text

from clients.results import Explanation, PopularitySource, Recommendation, Timing
from clients.tables.terminal import listing, plain
from twotower.terminal import Listing

_POPULARITY = {
    PopularitySource.LIVE: " · live popularity",
    PopularitySource.RELEASE: " · popularity of the training period",
    PopularitySource.NONE: "",
    PopularitySource.UNSPECIFIED: "",
}


def recommendation_table(products: Sequence[Recommendation], first_rank: int = 1) -> Listing:
    """Products, best first."""
    table = listing("#", "Product", "Brand", "Predicted rating", "Score", "Product id")
    for rank, product in enumerate(products, start=first_rank):
        numbers = (f"{product.predicted_rating:.2f}", f"{product.score:.4f}")
        table.add_row(str(rank), plain(product.name), plain(product.brand), *numbers, plain(product.product_id))
    return table


def explanation_table(products: Sequence[Recommendation], first_rank: int = 1) -> Listing:
    """What each feature adds to a product's score: the score less the score without the feature."""
    titles = ("#", "Score", "ALS adds", "Reviews' text adds", "Popularity adds")
    table = listing(*titles, "Nearest reviewed product", "Similarity")
    for rank, product in enumerate(products, start=first_rank):
        if explanation := product.explanation:
            table.add_row(str(rank), f"{product.score:.4f}", *_explanation_cells(product.score, explanation))
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
        queue, features, compute = timing.queue_ms, timing.feature_lookup_ms, timing.compute_ms
        line += f" (queue {queue:.2f}, features {features:.2f}, compute {compute:.2f} ms)"
    return Text(line + _POPULARITY[popularity], style="dim")


def _explanation_cells(score: float, explanation: Explanation) -> list[Text]:
    without = (explanation.score_without_als, explanation.score_without_bert, explanation.score_without_popularity)
    added = [Text(f"{score - other:+.4f}") for other in without]
    if not explanation.nearest_reviewed_product_id:
        return [*added, Text("–"), Text("–")]
    similarity = Text(f"{explanation.nearest_reviewed_similarity:.4f}")
    return [*added, plain(explanation.nearest_reviewed_product_id), similarity]
