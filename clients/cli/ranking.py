"""`twotower recommend` and `twotower similar`."""

import dataclasses
from collections.abc import Iterator
from functools import partial

import click

from clients import tables
from clients.calls import ProductFilter, RecommendOptions
from clients.cli.options import asks, json_option
from clients.cli.output import print_json, timed
from clients.recommender import TwotowerClient
from clients.results import Recommendations


@click.command()
@click.argument("user")
@click.option("-k", default=5, show_default=True, metavar="N", type=int, help="Products wanted, of each page.")
@click.option("--include-seen", is_flag=True, help="Also rank products that the user has reviewed.")
@click.option("--allow", multiple=True, metavar="PRODUCT", help="Rank only this product; may be given again.")
@click.option("--deny", multiple=True, metavar="PRODUCT", help="Never this product; may be given again.")
@click.option("--category", multiple=True, metavar="NAME", help="Only products in this category; may be given again.")
@click.option("--brand", multiple=True, metavar="NAME", help="Only products of this brand; may be given again.")
@click.option("--min-rating", default=0.0, metavar="STARS", help="Only products with at least this predicted rating.")
@click.option("--max-per-brand", default=0, metavar="N", help="At most this many products of one brand.")
@click.option(
    "--diversity",
    default=0.0,
    metavar="STRENGTH",
    help="0 to 1: how much likeness to the products before it counts against one.",
)
@click.option(
    "--max-staleness", type=float, metavar="SECONDS", help="Features that were looked up at most this long ago will do."
)
@click.option("--explain", is_flag=True, help="Say what each product's score is made of.")
@click.option("--pages", type=click.IntRange(min=1), metavar="N", help="Go on for up to this many pages of k products.")
@json_option
@asks("ranking")
def recommend(
    *,
    user: str,
    k: int,
    include_seen: bool,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    category: tuple[str, ...],
    brand: tuple[str, ...],
    min_rating: float,
    max_per_brand: int,
    diversity: float,
    max_staleness: float | None,
    explain: bool,
    pages: int | None,
    as_json: bool,
    client: TwotowerClient,
) -> None:
    """Recommend products to USER; a user that nobody knows gets a cold-start answer."""
    options = RecommendOptions(
        include_seen=include_seen,
        filter=ProductFilter(allow or None, deny, category or None, brand or None, min_rating),
        max_per_brand=max_per_brand,
        diversity_strength=diversity,
        max_staleness_s=max_staleness,
        explain=explain,
    )
    answers = _pages(client, user, k, pages, options)
    if as_json:
        _print_json(user, answers, as_pages=pages is not None)
        return
    out = tables.console()
    place = 1
    for answer, latency_ms in answers:
        if place == 1:
            out.print(tables.user_line(user, answer.user))
        if answer.products:
            out.print(tables.recommendation_table(answer.products, place))
        else:
            out.print("no product is left to recommend")
        if explain:
            out.print(tables.explanation_table(answer.products, place))
        out.print(tables.answer_line(answer.release_id, latency_ms, answer.timing, answer.popularity_source))
        place += len(answer.products)


@click.command()
@click.argument("product_id", metavar="PRODUCT")
@click.option("-k", default=5, show_default=True, metavar="N", type=int, help="Neighbours wanted.")
@json_option
@asks("ranking")
def similar(*, product_id: str, k: int, as_json: bool, client: TwotowerClient) -> None:
    """Show the products that are most like PRODUCT."""
    answer, latency_ms = timed(lambda: client.similar_products(product_id, k))
    if as_json:
        print_json(answer, product_id=product_id, latency_ms=latency_ms)
        return
    out = tables.console()
    out.print(tables.similar_table(answer.products))
    out.print(tables.answer_line(answer.release_id, latency_ms))


def _pages(
    client: TwotowerClient, user_id: str, k: int, pages: int | None, options: RecommendOptions
) -> Iterator[tuple[Recommendations, float]]:
    """Each page and its milliseconds; one without a token if `pages` is None."""
    token = ""
    for _ in range(pages or 1):
        answer, latency_ms = timed(
            partial(client.recommend, user_id, k, paginate=pages is not None, page_token=token, **options)
        )
        yield answer, latency_ms
        if not (token := answer.next_page_token):
            return


def _print_json(user_id: str, answers: Iterator[tuple[Recommendations, float]], *, as_pages: bool) -> None:
    rows = [{"latency_ms": latency_ms, **dataclasses.asdict(answer)} for answer, latency_ms in answers]
    print_json({"pages": rows} if as_pages else rows[0], user_id=user_id)
