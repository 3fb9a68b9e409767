"""`twotower release`."""

import dataclasses
from collections.abc import Callable

import click

from clients import tables
from clients.cli.options import asks, json_option
from clients.cli.output import print_json, timed
from clients.recommender import TwotowerClient
from clients.results import ReleaseInfo, ReleaseLabel

_NO_LABEL = "none"
_LABELS = (ReleaseLabel.STABLE.value, ReleaseLabel.CANARY.value, ReleaseLabel.SHADOW.value, _NO_LABEL)


@click.group()
def release() -> None:
    """Say which release answers."""


@release.command("list")
@json_option
@asks("ranking")
def list_releases(*, as_json: bool, client: TwotowerClient) -> None:
    """List the releases in the ranking service's folder, newest first."""
    releases, latency_ms = timed(client.list_releases)
    if as_json:
        print_json({"releases": [dataclasses.asdict(info) for info in releases]}, latency_ms=latency_ms)
        return
    out = tables.console()
    out.print(tables.release_table(releases))
    for info in releases:
        if info.shadow_comparison:
            out.print(tables.shadow_line(info.release_id, info.shadow_comparison))
    out.print(tables.latency_line(latency_ms))


@release.command("load")
@click.argument("release_id", metavar="RELEASE")
@json_option
@asks("ranking")
def load_release(*, release_id: str, as_json: bool, client: TwotowerClient) -> None:
    """Verify RELEASE, warm it up and make it answer; the one before answers until then, and stays if anything is
    wrong.
    """
    _change(lambda: client.load_release(release_id), as_json=as_json)


@release.command("label")
@click.argument("release_id", metavar="RELEASE")
@click.argument("label", type=click.Choice(_LABELS))
@click.option(
    "--share", default=0.0, metavar="SHARE", help="For canary: its share of the users, above 0 and at most 1."
)
@json_option
@asks("ranking")
def label_release(*, release_id: str, label: str, share: float, as_json: bool, client: TwotowerClient) -> None:
    """Make RELEASE the stable one, the canary for a share of the users or the shadow, or take its label away."""
    value = ReleaseLabel.UNSPECIFIED if label == _NO_LABEL else ReleaseLabel(label)
    _change(lambda: client.set_label(release_id, value, canary_share=share), as_json=as_json)


@release.command("rollback")
@json_option
@asks("ranking")
def rollback(*, as_json: bool, client: TwotowerClient) -> None:
    """Make the previous stable release answer again, and take the canary away."""
    _change(client.rollback, as_json=as_json)


def _change(call: Callable[[], ReleaseInfo], *, as_json: bool) -> None:
    info, latency_ms = timed(call)
    if as_json:
        print_json(info, latency_ms=latency_ms)
        return
    out = tables.console()
    out.print(tables.fields_table(tables.release_fields(info)))
    out.print(tables.latency_line(latency_ms))
