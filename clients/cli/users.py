"""`twotower user`."""

import dataclasses

import click

from clients import tables
from clients.cli.options import asks, json_option
from clients.cli.output import print_json, timed
from clients.recommender import TwotowerClient

_VECTORS = ("bert_mean", "als")


@click.group()
def user() -> None:
    """Look at users and forget them."""


@user.command("show")
@click.argument("user_id", metavar="USER")
@click.option("--vectors", is_flag=True, help="With --json: the vectors too.")
@json_option
@asks("embedding")
def show_user(*, user_id: str, vectors: bool, as_json: bool, client: TwotowerClient) -> None:
    """Show what is known of USER."""
    features, latency_ms = timed(lambda: client.get_user_features(user_id))
    if as_json:
        fields = dataclasses.asdict(features)
        print_json(
            {name: value for name, value in fields.items() if vectors or name not in _VECTORS}, latency_ms=latency_ms
        )
        return
    out = tables.console()
    out.print(tables.fields_table(tables.user_fields(features)))
    out.print(tables.answer_line(features.release_id, latency_ms))


@user.command("delete")
@click.argument("user_id", metavar="USER")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@json_option
@asks("embedding")
def delete_user(*, user_id: str, yes: bool, as_json: bool, client: TwotowerClient) -> None:
    """Forget USER: all reviews and features. There is no way back."""
    if not yes:
        click.confirm(f"Forget all reviews and features of {tables.plain(user_id)}?", abort=True, err=True)
    answer, latency_ms = timed(lambda: client.delete_user(user_id))
    if as_json:
        print_json(answer, user_id=user_id, latency_ms=latency_ms)
        return
    out = tables.console()
    out.print(tables.plain(f"{user_id}: {'forgotten' if answer.deleted else 'nothing was known'}"))
    out.print(tables.latency_line(latency_ms))
