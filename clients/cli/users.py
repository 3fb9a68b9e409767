"""`twotower user`."""

import click

from clients import tables
from clients.cli.options import asks
from clients.cli.output import show
from clients.recommender import TwotowerClient
from twotower.cli import json_option, print_json

_VECTORS = ("bert_mean", "als")


@click.group()
def user() -> None:
    """Show users and forget them."""


@user.command("show")
@click.argument("user_id", metavar="USER")
@click.option("--vectors", is_flag=True, help="Print the vectors too, with --json.")
@json_option
@asks("embedding")
def show_user(*, user_id: str, vectors: bool, as_json: bool, client: TwotowerClient) -> None:
    """Show what is known of USER."""
    features, latency_ms = tables.timed(lambda: client.get_user_features(user_id))
    table, footer = tables.user_fields(features), tables.answer_line(features.release_id, latency_ms)
    fields = {name: value for name, value in vars(features).items() if vectors or name not in _VECTORS}
    show(fields, table, footer, as_json=as_json, latency_ms=latency_ms)


@user.command("export")
@click.argument("user_id", metavar="USER")
@json_option
@asks("admin-embedding")
def export_user(*, user_id: str, as_json: bool, client: TwotowerClient) -> None:  # noqa: ARG001 - it is always JSON
    """Print all that is kept of USER, in every space, as JSON."""
    page = client.export_user(user_id)
    fields = {"states": page.states, "als": page.als, "tombstones": page.tombstones}
    reviews = list(page.reviews)
    while page.next_page_token:
        page = client.export_user(user_id, page_token=page.next_page_token)
        reviews += page.reviews
    print_json(fields | {"reviews": reviews}, user_id=user_id)


@user.command("delete")
@click.argument("user_id", metavar="USER")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@asks("admin-embedding")
def delete_user(*, user_id: str, yes: bool, as_json: bool, client: TwotowerClient) -> None:
    """Forget USER: all reviews and features, for good."""
    if not yes:
        click.confirm(f"Forget all reviews and features of {tables.plain(user_id)}?", abort=True, err=True)
    answer, latency_ms = tables.timed(lambda: client.delete_user(user_id))
    outcome = tables.plain(f"{user_id}: {'forgotten' if answer.deleted else 'nothing was known'}")
    show(answer, outcome, tables.latency_line(latency_ms), as_json=as_json, user_id=user_id, latency_ms=latency_ms)
