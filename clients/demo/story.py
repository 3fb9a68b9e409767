"""What the demo shows: answers for a warm, a cold and an anonymous user, and how one review changes the cold one's."""

import statistics
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

from clients import tables
from clients.demo.users import DemoUsers
from clients.recommender import TwotowerClient
from clients.results import Recommendation, Recommendations
from twotower.terminal import Heading, Listing

K: Final = 5
"""Products asked for; fewer if the catalogue has fewer."""
_REPEATS: Final = 50
REVIEW_TITLE: Final = "Exactly what I was looking for"


@dataclass(frozen=True)
class TimedAnswer:
    """An answer and the milliseconds that the caller waited: the first time, and the median of the repeats."""

    answer: Recommendations
    first_ms: float
    median_ms: float


def ask(client: TwotowerClient, user_id: str, k: int) -> TimedAnswer:
    """Ask once, then again and again for the time.

    On a busy machine the first answer may be degraded; then a later one takes its place.
    """
    (answer, first_ms), *repeats = (tables.timed(lambda: client.recommend(user_id, k)) for _ in range(1 + _REPEATS))
    if answer.user.degraded:
        answer = next((later for later, _ in repeats if not later.user.degraded), answer)
    return TimedAnswer(answer, first_ms, statistics.median(ms for _, ms in repeats))


def tell(client: TwotowerClient, users: DemoUsers, out: Console) -> dict[str, TimedAnswer]:
    """Print the whole story: tables with product names, predicted ratings and scores, each with release and times.

    Returns:
        The answers that it shows, by what they are.
    """
    k = min(K, users.product_count)
    client.recommend(users.cold, k)  # opens the connection, so that no user's first answer pays for it
    answers = {}
    for kind, user_id in (("warm", users.warm), ("cold", users.cold), ("anonymous", users.anonymous)):
        timed = answers[kind] = ask(client, user_id, k)
        out.print()
        out.print(tables.user_line(user_id, timed.answer.user))
        out.print(tables.recommendation_table(timed.answer.products))
        out.print(_latency_line(timed))
    out.print()
    _record(client, users, out)
    after = answers["cold_after_a_review"] = ask(client, users.cold, k)
    out.print()
    out.print(tables.user_line(users.cold, after.answer.user))
    out.print(side_by_side(answers["cold"].answer.products, after.answer.products))
    out.print(_latency_line(after))
    return answers


def side_by_side(before: tuple[Recommendation, ...], after: tuple[Recommendation, ...]) -> Listing:
    """Two answers for one user, rank by rank, and how far each product of the second moved."""
    table = tables.listing("#", "Before", "Rating", "Score", "After", "Rating after", "Score after", "Moved")
    rank_before = {product.product_id: rank for rank, product in enumerate(before)}
    for rank in range(max(len(before), len(after))):
        moved = _moved(rank_before.get(after[rank].product_id), rank) if rank < len(after) else Text("")
        table.add_row(str(rank + 1), *_cells(before, rank), *_cells(after, rank), moved)
    return table


def _cells(products: tuple[Recommendation, ...], rank: int) -> list[Text]:
    if rank >= len(products):
        return [Text(""), Text(""), Text("")]
    product = products[rank]
    return [tables.plain(product.name), Text(f"{product.predicted_rating:.2f}"), Text(f"{product.score:.4f}")]


def _moved(before: int | None, after: int) -> Text:
    if before is None:
        return Text("new", style="green")
    if before == after:
        return Text("=", style="dim")
    return Text(f"▲ {before - after}", style="green") if before > after else Text(f"▼ {after - before}", style="red")


def _record(client: TwotowerClient, users: DemoUsers, out: Console) -> None:
    user_id, product = users.cold, users.product
    text = f"I bought the {product.name} and use it every day. It works perfectly and I love it."
    recorded, latency_ms = tables.timed(
        lambda: client.record_review(user_id, product.product_id, 5, title=REVIEW_TITLE, text=text)
    )
    out.print(Heading(), style="dim")
    out.print(tables.plain(f"{user_id} reviews {product.name!r}: 5 stars, {REVIEW_TITLE!r}"))
    for line in tables.review_lines(user_id, product.product_id, recorded):
        out.print(line)
    out.print(tables.answer_line(recorded.release_id, latency_ms))


def _latency_line(timed: TimedAnswer) -> Text:
    first = f"release {timed.answer.release_id} · first answer in {timed.first_ms:.1f} ms"
    return Text(f"{first}, median of {_REPEATS} more {timed.median_ms:.1f} ms", style="dim")
