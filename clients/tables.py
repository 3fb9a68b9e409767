"""Answers as tables for a terminal. Text from outside is shown as it is, never as markup or as terminal control codes."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.results import AlsOrigin, Product, Recommendation, RecordedReview, RecordOutcome, Timing, UserContext, UserKind

_NARROW_WIDTH = 100
_ALS_ORIGIN = {
    AlsOrigin.TRAINED: "ALS vector from training",
    AlsOrigin.FOLDED_IN: "ALS vector folded in from the reviews",
    AlsOrigin.NONE: "no ALS vector",
    AlsOrigin.UNSPECIFIED: "ALS vector of unknown origin",
}
_OUTCOMES = {
    RecordOutcome.RECORDED: "recorded",
    RecordOutcome.DUPLICATE: "was there already, nothing changed",
    RecordOutcome.REPLACED: "replaced the one that was there under this id",
    RecordOutcome.ANONYMOUS: "accepted and not stored: the name is shared by many people",
    RecordOutcome.UNSPECIFIED: "answered in a way that this client does not know",
}


def console(*, error: bool = False) -> Console:
    """The terminal; a fixed width where there is none, so that a piped table keeps its columns."""
    result = Console(stderr=error, highlight=False, emoji=False, markup=False)
    if not result.is_terminal:
        result.width = max(result.width, _NARROW_WIDTH)
    return result


def plain(value: str) -> Text:
    """Text from outside: control characters are replaced."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value))


def age(seconds: float) -> str:
    """A time span in its largest sensible unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def user_line(user_id: str, user: UserContext) -> Text:
    """Who was answered, and from what."""
    line = plain(user_id).append(": ")
    line.stylize("bold")
    if user.degraded:
        return line.append("degraded: the embedding service did not answer, so cold-start features were used", style="yellow")
    if user.kind is UserKind.WARM:
        reviews = f"{user.review_count:,} review{'s' if user.review_count != 1 else ''}"
        changed = "" if user.feature_age_s is None else f", changed {age(user.feature_age_s)} ago"
        return line.append(f"warm user, {reviews}{changed}, {_ALS_ORIGIN[user.als_origin]}")
    if user.kind is UserKind.COLD:
        return line.append("cold user: no review is known, so the average reader's features stand in")
    if user.kind is UserKind.ANONYMOUS:
        return line.append("anonymous user: a name that many people share, so it has no history")
    return line.append("user of an unknown kind")


def recommendation_table(products: Sequence[Recommendation]) -> Table:
    """Products, best first."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("Product", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("Brand", overflow="ellipsis", no_wrap=True, max_width=16)
    table.add_column("Predicted rating", justify="right")
    table.add_column("Score", justify="right")
    table.add_column("Product id", overflow="fold")
    table.expand = True
    for place, product in enumerate(products, start=1):
        numbers = (f"{product.predicted_rating:.2f}", f"{product.score:.4f}")
        table.add_row(str(place), plain(product.name), plain(product.brand), *numbers, plain(product.product_id))
    return table


def answer_line(release_id: str, latency_ms: float, timing: Timing | None = None) -> Text:
    """Which release answered, and how fast."""
    line = f"release {release_id} · answered in {latency_ms:.1f} ms"
    if timing:
        line += f" (queue {timing.queue_ms:.2f}, features {timing.feature_lookup_ms:.2f}, compute {timing.compute_ms:.2f} ms)"
    return Text(line, style="dim")


def product_table(products: Sequence[Product]) -> Table:
    """Part of the catalogue."""
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    table.add_column("Product id", overflow="fold")
    table.add_column("Product", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("Brand", overflow="ellipsis", no_wrap=True, max_width=16)
    table.add_column("Reviews", justify="right")
    table.add_column("Mean rating", justify="right")
    for product in products:
        mean = f"{product.mean_rating:.2f}" if product.review_count else "–"
        table.add_row(plain(product.product_id), plain(product.name), plain(product.brand), f"{product.review_count:,}", mean)
    return table


def fields_table(fields: Mapping[str, str]) -> Table:
    """Names and values, one a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name, plain(value))
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


def review_lines(user_id: str, product_id: str, review: RecordedReview) -> list[Text]:
    """What became of a review, and what to know about it."""
    lines = [plain(f"review {review.review_id}: {_OUTCOMES[review.outcome]}")]
    if review.outcome is not RecordOutcome.ANONYMOUS:
        lines.append(plain(f"{user_id} has {review.review_count:,} review{'s' if review.review_count != 1 else ''} now"))
    if review.text_truncated:
        lines.append(Text("the text is longer than the encoder takes: the rest did not count", style="yellow"))
    if not review.product_known:
        message = f"product {product_id} has no ALS factors in this release: the text counts, the purchase pattern does not"
        lines.append(plain(message))
        lines[-1].stylize("yellow")
    return lines
