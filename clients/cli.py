"""`twotower recommend`, `twotower review` and `twotower product`."""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from clients import tables
from clients.connection import DEFAULT_EMBEDDING, DEFAULT_RANKING
from clients.recommender import TwotowerClient
from clients.results import Product, ProductPage

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

_LARGEST_PAGE = 1000


def ranking_option(command: Command) -> Command:
    """``--ranking HOST:PORT``."""
    return click.option(
        "--ranking",
        envvar="TWOTOWER_RANKING",
        default=DEFAULT_RANKING,
        show_default=True,
        show_envvar=True,
        metavar="HOST:PORT",
        help="Where the ranking service is.",
    )(command)


def embedding_option(command: Command) -> Command:
    """``--embedding HOST:PORT``."""
    return click.option(
        "--embedding",
        envvar="TWOTOWER_EMBEDDING",
        default=DEFAULT_EMBEDDING,
        show_default=True,
        show_envvar=True,
        metavar="HOST:PORT",
        help="Where the embedding service is.",
    )(command)


def json_option(command: Command) -> Command:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON object.")(command)


@click.command()
@click.argument("user")
@click.option("-k", default=5, show_default=True, metavar="N", type=int, help="Products wanted.")
@click.option("--include-seen", is_flag=True, help="Also rank products that the user has reviewed.")
@json_option
@ranking_option
def recommend(user: str, k: int, include_seen: bool, as_json: bool, ranking: str) -> None:
    """Recommend products to USER; a user that nobody knows gets a cold-start answer."""
    with TwotowerClient(ranking=ranking) as client:
        answer, latency_ms = _timed(lambda: client.recommend(user, k, include_seen=include_seen))
    if as_json:
        _print_json(answer, user_id=user, latency_ms=latency_ms)
        return
    out = tables.console()
    out.print(tables.user_line(user, answer.user))
    out.print(tables.recommendation_table(answer.products))
    out.print(tables.answer_line(answer.release_id, latency_ms, answer.timing))


@click.group()
def review() -> None:
    """Record reviews."""


@review.command("add")
@click.option("--user", required=True, help="The author.")
@click.option("--product", required=True, help="Id of the product; it need not be in the catalogue.")
@click.option("--rating", required=True, type=float, metavar="STARS", help="0 to 5.")
@click.option("--title", default="", help='"No Title" if not given.')
@click.option("--text", default="", help='"No Review" if not given.')
@click.option("--review-id", metavar="ID", help="Idempotency key: the same id sent again counts once. A random one if not given.")
@json_option
@embedding_option
def add_review(
    *, user: str, product: str, rating: float, title: str, text: str, review_id: str | None, as_json: bool, embedding: str
) -> None:
    """Record one review; the next recommendation knows of it."""
    with TwotowerClient(embedding=embedding) as client:
        recorded, latency_ms = _timed(lambda: client.record_review(user, product, rating, title=title, text=text, review_id=review_id))
    if as_json:
        _print_json(recorded, user_id=user, product_id=product, latency_ms=latency_ms)
        return
    out = tables.console()
    for line in tables.review_lines(user, product, recorded):
        out.print(line)
    out.print(tables.answer_line(recorded.release_id, latency_ms))


@click.group()
def product() -> None:
    """Look at the catalogue."""


@product.command("list")
@click.option("-n", "--limit", default=20, show_default=True, metavar="N", type=click.IntRange(min=1), help="Products to show.")
@json_option
@ranking_option
def list_products(limit: int, as_json: bool, ranking: str) -> None:
    """List products in catalogue order."""
    with TwotowerClient(ranking=ranking) as client:
        page, latency_ms = _timed(lambda: _first_products(client, limit))
    if as_json:
        _print_json(page, latency_ms=latency_ms)
        return
    out = tables.console()
    out.print(tables.product_table(page.products))
    out.print(f"{len(page.products):,} of {page.total_count:,} products")
    out.print(tables.answer_line(page.release_id, latency_ms))


@product.command("show")
@click.argument("product_id", metavar="PRODUCT")
@json_option
@ranking_option
def show_product(product_id: str, as_json: bool, ranking: str) -> None:
    """Show one product."""
    with TwotowerClient(ranking=ranking) as client:
        details, latency_ms = _timed(lambda: client.get_product(product_id))
    if as_json:
        _print_json(details, latency_ms=latency_ms)
        return
    out = tables.console()
    out.print(tables.fields_table(tables.product_fields(details.product)))
    out.print(tables.answer_line(details.release_id, latency_ms))


def _first_products(client: TwotowerClient, limit: int) -> ProductPage:
    products: list[Product] = []
    token = ""
    while True:
        page = client.list_products(min(limit - len(products), _LARGEST_PAGE), token)
        products += page.products
        token = page.next_page_token
        if not token or len(products) >= limit:
            return dataclasses.replace(page, products=tuple(products))


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    """A call's answer and its milliseconds, connecting included."""
    start = time.perf_counter()
    answer = call()
    return answer, (time.perf_counter() - start) * 1000


def _print_json(answer: Any, **more: object) -> None:
    click.echo(json.dumps({**more, **dataclasses.asdict(answer)}, ensure_ascii=False, indent=2))
