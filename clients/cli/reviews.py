"""`twotower review`."""

import click

from clients import tables
from clients.cli.options import asks
from clients.cli.output import show
from clients.recommender import TwotowerClient
from twotower.cli import json_option


@click.group()
def review() -> None:
    """Record reviews and take them back."""


@review.command("add")
@click.option("--user", required=True, help="Author of the review.")
@click.option("--product", required=True, help="Id of the product; it need not be in the catalogue.")
@click.option("--rating", required=True, type=float, metavar="STARS", help="Rating, 0 to 5.")
@click.option("--title", default="", help='Title of the review; "No Title" if not given.')
@click.option("--text", default="", help='Text of the review; "No Review" if not given.')
@click.option(
    "--review-id",
    metavar="ID",
    help="Idempotency key: a review sent again under its id counts once. Random if not given.",
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
    """Record one review; it counts in the next recommendation."""
    recorded, latency_ms = tables.timed(
        lambda: client.record_review(user, product, rating, title=title, text=text, review_id=review_id)
    )
    lines = [*tables.review_lines(user, product, recorded), tables.answer_line(recorded.release_id, latency_ms)]
    show(recorded, *lines, as_json=as_json, user_id=user, product_id=product, latency_ms=latency_ms)


@review.command("retract")
@click.option("--user", required=True, help="Author of the review.")
@click.option("--review-id", required=True, metavar="ID", help="Id under which the review was recorded.")
@json_option
@asks("embedding")
def retract_review(*, user: str, review_id: str, as_json: bool, client: TwotowerClient) -> None:
    """Take one review back, as if it had never been written."""
    retracted, latency_ms = tables.timed(lambda: client.retract_review(user, review_id))
    outcome = "retracted" if retracted.retracted else "was not there, nothing changed"
    lines = [
        tables.plain(f"review {review_id}: {outcome}"),
        tables.review_count_line(user, retracted.review_count),
        tables.answer_line(retracted.release_id, latency_ms),
    ]
    show(retracted, *lines, as_json=as_json, user_id=user, review_id=review_id, latency_ms=latency_ms)
