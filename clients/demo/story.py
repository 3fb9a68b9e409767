"""What the demo shows: answers for a warm, a cold and an anonymous user, and how one review changes the cold one's."""

import statistics
import time
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from clients import tables
from clients.demo.users import Cast
from clients.recommender import TwotowerClient
from clients.results import Recommendation, Recommendations

K: Final = 5
"""Products asked for; fewer if the catalogue has fewer."""
_REPEATS: Final = 50
REVIEW_TITLE: Final = "Exactly what I was looking for"


@dataclass(frozen=True)
class Asked:
    """An answer with the milliseconds that the caller waited: the first time, and the median of the repeats."""

    answer: Recommendations
    first_ms: float
    median_ms: float


def ask(client: TwotowerClient, user_id: str, k: int) -> Asked:
    """Ask once, then again and again for the time; an answer that was degraded on a busy machine makes way for a later
    one.
    """
    answer, first_ms = _timed(client, user_id, k)
    repeats = [_timed(client, user_id, k) for _ in range(_REPEATS)]
    if answer.user.degraded:
        answer = next((later for later, _ in repeats if not later.user.degraded), answer)
    return Asked(answer, first_ms, statistics.median(ms for _, ms in repeats))


def tell(client: TwotowerClient, cast: Cast, out: Console) -> None:
    """The whole story; every table with product names, predicted ratings, scores, release and latencies."""
    k = min(K, cast.product_count)
    _timed(client, cast.cold, k)  # opens the connection, so that no user's first answer pays for it
    for user_id in (cast.warm, cast.cold, cast.anonymous):
        asked = ask(client, user_id, k)
        out.print()
        _print_answer(out, user_id, asked)
        if user_id == cast.cold:
            before = asked
    out.print()
    _record(client, cast, out)
    after = ask(client, cast.cold, k)
    out.print()
    out.print(tables.user_line(cast.cold, after.answer.user))
    out.print(side_by_side(before.answer.products, after.answer.products))
    out.print(_latency_line(after))


def side_by_side(before: tuple[Recommendation, ...], after: tuple[Recommendation, ...]) -> Table:
    """Two answers for one user, place by place, and how far each product of the second moved."""
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    table.add_column("#", justify="right")
    for title in ("Before", "After"):
        table.add_column(title, overflow="ellipsis", no_wrap=True, ratio=1)
        table.add_column("Rating", justify="right")
        table.add_column("Score", justify="right")
    table.add_column("Moved")
    places = {product.product_id: place for place, product in enumerate(before)}
    for place in range(max(len(before), len(after))):
        cells = [*_cells(before, place), *_cells(after, place)]
        moved = _moved(places.get(after[place].product_id), place) if place < len(after) else Text("")
        table.add_row(str(place + 1), *cells, moved)
    return table


def _cells(products: tuple[Recommendation, ...], place: int) -> list[Text]:
    if place >= len(products):
        return [Text(""), Text(""), Text("")]
    product = products[place]
    return [tables.plain(product.name), Text(f"{product.predicted_rating:.2f}"), Text(f"{product.score:.4f}")]


def _moved(before: int | None, after: int) -> Text:
    if before is None:
        return Text("new", style="green")
    if before == after:
        return Text("=", style="dim")
    return Text(f"▲ {before - after}", style="green") if before > after else Text(f"▼ {after - before}", style="red")


def _record(client: TwotowerClient, cast: Cast, out: Console) -> None:
    text = f"I bought the {cast.product.name} and use it every day. It works perfectly and I love it."
    start = time.perf_counter()
    recorded = client.record_review(cast.cold, cast.product.product_id, 5, title=REVIEW_TITLE, text=text)
    latency_ms = (time.perf_counter() - start) * 1000
    out.print(Rule(style="dim"))
    out.print(tables.plain(f"{cast.cold} reviews {cast.product.name!r}: 5 stars, {REVIEW_TITLE!r}"))
    for line in tables.review_lines(cast.cold, cast.product.product_id, recorded):
        out.print(line)
    out.print(tables.answer_line(recorded.release_id, latency_ms))


def _print_answer(out: Console, user_id: str, asked: Asked) -> None:
    out.print(tables.user_line(user_id, asked.answer.user))
    out.print(tables.recommendation_table(asked.answer.products))
    out.print(_latency_line(asked))


def _latency_line(asked: Asked) -> Text:
    release_id = asked.answer.release_id
    line = (
        f"release {release_id} · first answer in {asked.first_ms:.1f} ms, median of {_REPEATS} more "
        f"{asked.median_ms:.1f} ms"
    )
    return Text(line, style="dim")


def _timed(client: TwotowerClient, user_id: str, k: int) -> tuple[Recommendations, float]:
    start = time.perf_counter()
    answer = client.recommend(user_id, k)
    return answer, (time.perf_counter() - start) * 1000
