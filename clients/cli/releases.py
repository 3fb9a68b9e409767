"""`twotower release`."""

from collections.abc import Callable

import click

from clients import tables
from clients.cli.options import asks
from clients.cli.output import show
from clients.recommender import TwotowerClient
from clients.results import ReleaseInfo, ReleaseLabel
from twotower.cli import json_option

_NO_LABEL = "none"
_LABELS = (ReleaseLabel.STABLE.value, ReleaseLabel.CANARY.value, ReleaseLabel.SHADOW.value, _NO_LABEL)


@click.group()
def release() -> None:
    """List releases and say which one answers."""


@release.command("list")
@json_option
@asks("admin-ranking")
def list_releases(*, as_json: bool, client: TwotowerClient) -> None:
    """List the releases in the ranking service's folder, newest first, and what each service holds them for."""
    releases, latency_ms = tables.timed(client.list_releases)
    shadows = [
        tables.shadow_line(info.release_id, info.shadow_comparison) for info in releases if info.shadow_comparison
    ]
    table, footer = tables.release_table(releases), tables.latency_line(latency_ms)
    show({"releases": releases}, table, *shadows, footer, as_json=as_json, latency_ms=latency_ms)


@release.command("load")
@click.argument("release_id", metavar="RELEASE")
@json_option
@asks("admin-ranking")
def load_release(*, release_id: str, as_json: bool, client: TwotowerClient) -> None:
    """Verify RELEASE, warm it up and make it answer, in both services.

    Until then the release before it answers; it goes on if anything is wrong.
    """
    _change(lambda: client.load_release(release_id), as_json=as_json)


@release.command("label")
@click.argument("release_id", metavar="RELEASE")
@click.argument("label", type=click.Choice(_LABELS))
@click.option("--share", default=0.0, metavar="SHARE", help="The canary's share of the users, above 0 and at most 1.")
@json_option
@asks("admin-ranking")
def label_release(*, release_id: str, label: str, share: float, as_json: bool, client: TwotowerClient) -> None:
    """Give RELEASE a label.

    The stable release answers, the canary answers a share of the users, and the shadow is only compared with the
    stable one; "none" takes the label away.
    """
    value = ReleaseLabel.UNSPECIFIED if label == _NO_LABEL else ReleaseLabel(label)
    _change(lambda: client.set_label(release_id, value, canary_share=share), as_json=as_json)


@release.command("rollback")
@json_option
@asks("admin-ranking")
def rollback(*, as_json: bool, client: TwotowerClient) -> None:
    """Make the previous stable release answer again, in both services.

    The canary is taken away.
    """
    _change(client.rollback, as_json=as_json)


def _change(call: Callable[[], ReleaseInfo], *, as_json: bool) -> None:
    info, latency_ms = tables.timed(call)
    table, footer = tables.release_fields(info), tables.latency_line(latency_ms)
    show(info, table, footer, as_json=as_json, latency_ms=latency_ms)
