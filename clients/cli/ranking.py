"""`twotower recommend` and `twotower similar`."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Unpack, get_type_hints

import click

from clients import tables
from clients.calls import ProductFilter, RecommendOptions
from clients.cli.options import Command, asks
from clients.cli.output import show
from clients.recommender import TwotowerClient
from clients.results import Recommendations
from twotower.cli import json_option, print_json


def _ranking_option(flag: str, name: str, **settings: Any) -> Callable[[Command], Command]:
    """A command-line option for the option `name` of :class:`RecommendOptions`, with its text."""
    (text,) = get_type_hints(RecommendOptions, include_extras=True)[name].__metadata__
    return click.option(flag, name, help=text, **settings)


@click.command()
@click.argument("user")
@click.option("-k", default=5, show_default=True, metavar="N", type=int, help="Products wanted, per page.")
@_ranking_option("--include-seen", "include_seen", is_flag=True)
@click.option("--allow", multiple=True, metavar="PRODUCT", help="Rank only this product; may be given again.")
@click.option("--deny", multiple=True, metavar="PRODUCT", help="Never rank this product; may be given again.")
@click.option("--category", multiple=True, metavar="NAME", help="Rank only this category; may be given again.")
@click.option("--brand", multiple=True, metavar="NAME", help="Rank only this brand; may be given again.")
@click.option(
    "--min-rating", default=0.0, metavar="STARS", help="Rank only products with at least this predicted rating, 0 to 5."
)
@_ranking_option("--max-per-brand", "max_per_brand", default=0, metavar="N")
@_ranking_option("--diversity", "diversity_strength", default=0.0, metavar="STRENGTH")
@_ranking_option("--max-staleness", "max_staleness_s", type=float, metavar="SECONDS")
@_ranking_option("--explain", "explain", is_flag=True)
@click.option("--pages", type=click.IntRange(min=1), metavar="N", help="Print up to this many pages of k products.")
@json_option
@asks("ranking")
def recommend(
    *,
    user: str,
    k: int,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    category: tuple[str, ...],
    brand: tuple[str, ...],
    min_rating: float,
    pages: int | None,
    as_json: bool,
    client: TwotowerClient,
    **options: Unpack[RecommendOptions],
) -> None:
    """Recommend products to USER.

    A user without reviews gets a cold-start answer.
    """
    options["filter"] = ProductFilter(allow or None, deny, category or None, brand or None, min_rating)
    answers = _pages(client, user, k, pages, options)
    if as_json:
        _print_json(user, answers, as_pages=pages is not None)
        return
    out = tables.console()
    rank = 1
    for answer, latency_ms in answers:
        if rank == 1:
            out.print(tables.user_line(user, answer.user))
        if answer.products:
            out.print(tables.recommendation_table(answer.products, rank))
        else:
            out.print("no product is left to recommend")
        if options["explain"]:
            out.print(tables.explanation_table(answer.products, rank))
        out.print(tables.answer_line(answer.release_id, latency_ms, answer.timing, answer.popularity_source))
        rank += len(answer.products)


@click.command()
@click.argument("product_id", metavar="PRODUCT")
@click.option("-k", default=5, show_default=True, metavar="N", type=int, help="Neighbours wanted.")
@json_option
@asks("ranking")
def similar(*, product_id: str, k: int, as_json: bool, client: TwotowerClient) -> None:
    """List the products that are most like PRODUCT."""
    answer, latency_ms = tables.timed(lambda: client.similar_products(product_id, k))
    table, footer = tables.similar_table(answer.products), tables.answer_line(answer.release_id, latency_ms)
    show(answer, table, footer, as_json=as_json, product_id=product_id, latency_ms=latency_ms)


def _pages(
    client: TwotowerClient, user_id: str, k: int, pages: int | None, options: RecommendOptions
) -> Iterator[tuple[Recommendations, float]]:
    """Each page and its milliseconds; one without a token if `pages` is None."""
    token = ""
    for _ in range(pages or 1):
        answer, latency_ms = tables.timed(
            partial(client.recommend, user_id, k, paginate=pages is not None, page_token=token, **options)
        )
        yield answer, latency_ms
        if not (token := answer.next_page_token):
            return


def _print_json(user_id: str, answers: Iterator[tuple[Recommendations, float]], *, as_pages: bool) -> None:
    rows = [{"latency_ms": latency_ms, **vars(answer)} for answer, latency_ms in answers]
    print_json({"pages": rows} if as_pages else rows[0], user_id=user_id)
