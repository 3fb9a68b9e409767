"""`twotower review`."""

import click

from clients import tables
from clients.cli.options import asks, json_option
from clients.cli.output import print_json, timed
from clients.recommender import TwotowerClient


@click.group()
def review() -> None:
    """Record reviews and take them back."""


@review.command("add")
@click.option("--user", required=True, help="The author.")
@click.option("--product", required=True, help="Id of the product; it need not be in the catalogue.")
@click.option("--rating", required=True, type=float, metavar="STARS", help="0 to 5.")
@click.option("--title", default="", help='"No Title" if not given.')
@click.option("--text", default="", help='"No Review" if not given.')
@click.option(
    "--review-id", metavar="ID", help="Idempotency key: the same id sent again counts once. A random one if not given."
)
@json_option
@asks("embedding")
def add_review(
    *,
    user: str,
    product: str,
    rating: float,
    title: str,
    text: str,
    review_id: str | None,
    as_json: bool,
    client: TwotowerClient,
) -> None:
    """Record one review; the next recommendation knows of it."""
    recorded, latency_ms = timed(
        lambda: client.record_review(user, product, rating, title=title, text=text, review_id=review_id)
    )
    if as_json:
        print_json(recorded, user_id=user, product_id=product, latency_ms=latency_ms)
        return
    out = tables.console()
    for line in tables.review_lines(user, product, recorded):
        out.print(line)
    out.print(tables.answer_line(recorded.release_id, latency_ms))


@review.command("retract")
@click.option("--user", required=True, help="The author.")
@click.option("--review-id", required=True, metavar="ID", help="The id that the review was recorded under.")
@json_option
@asks("embedding")
def retract_review(*, user: str, review_id: str, as_json: bool, client: TwotowerClient) -> None:
    """Take one review back, as if it had never been written."""
    retracted, latency_ms = timed(lambda: client.retract_review(user, review_id))
    if as_json:
        print_json(retracted, user_id=user, review_id=review_id, latency_ms=latency_ms)
        return
    out = tables.console()
    out.print(
        tables.plain(f"review {review_id}: {'retracted' if retracted.retracted else 'was not there, nothing changed'}")
    )
    out.print(tables.review_count_line(user, retracted.review_count))
    out.print(tables.answer_line(retracted.release_id, latency_ms))
