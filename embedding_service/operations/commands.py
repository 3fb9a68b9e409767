"""Sub-commands of `twotower` for operators of the store: verify, migrate, du, export-users, replay."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import click

from embedding_service.redis_store.url import EMBEDDED

_PATH = click.Path(path_type=Path)
_TIMEOUT_S = 30.0


def _store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option(
            "--store", default=EMBEDDED, show_default=True, help="As for the embedding service: 'embedded' or a URL."
        ),
        click.option(
            "--data-dir",
            type=_PATH,
            default=Path("run/embedding"),
            show_default=True,
            help="Folder of the embedded store.",
        ),
        click.option("--redis-ca", type=_PATH, help="PEM file of the authority that signed Redis' certificate."),
        click.option("--redis-certificate", type=_PATH, help="PEM file of the client's certificate."),
        click.option("--redis-key", type=_PATH, help="PEM file of the client's key."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@contextlib.asynccontextmanager
async def _opened(options: dict[str, Any]) -> AsyncIterator[Any]:
    """The store; an embedded one is the running service's, or is started for the command."""
    from embedding_service.redis_store.client import connect, redis_tls
    from embedding_service.redis_store.embedded import running_or_started
    from embedding_service.redis_store.user_store import RedisUserStore

    async with contextlib.AsyncExitStack() as stack:
        url = options["store"]
        if url == EMBEDDED:
            url = await stack.enter_async_context(running_or_started(options["data_dir"]))
        tls = redis_tls(options["redis_ca"], options["redis_certificate"], options["redis_key"])
        opened = RedisUserStore(connect(url, timeout_s=_TIMEOUT_S, connections=4, tls=tls))
        stack.push_async_callback(opened.close)
        yield opened


@contextlib.contextmanager
def _counting(what: str) -> Iterator[Callable[[int], None]]:
    """Shows a growing number on standard error, if that is a terminal."""
    total = 0
    shown = sys.stderr.isatty()

    def add(more: int) -> None:
        nonlocal total
        total += more
        if shown:
            click.echo(f"\r{total} {what}", err=True, nl=False)

    yield add
    if shown:
        click.echo("", err=True)


@click.command()
@_store_options
@click.option("--repair", is_flag=True, help="Mend what differs from the logs.")
def verify(repair: bool, **store: Any) -> None:
    """Recompute sums, counts, seen products and popularity from the logs and compare them bit for bit.

    Exit code 1 if anything differs and is not repaired.
    """
    asyncio.run(_verify(repair, store))


async def _verify(repair: bool, options: dict[str, Any]) -> None:
    from embedding_service.operations.verify import Verifier

    async with _opened(options) as store:
        with _counting("users") as count:
            found = await Verifier(store).verify(repair=repair, on_progress=count)
    click.echo(f"{found.users} users, {found.reviews} reviews")
    for user_id, encoder_id, problem in found.problems:
        click.echo(f"  {user_id!r}, encoder {encoder_id}: {problem}")
    for encoder_id, wrong in found.popularity.items():
        if wrong is None:
            click.echo(f"  popularity, encoder {encoder_id}: not compared, reviews were written meanwhile")
        elif wrong:
            click.echo(f"  popularity, encoder {encoder_id}: {wrong} reviews too many or too few")
    click.echo(
        "clean" if found.clean else "repaired" if found.repaired else "not clean: --repair makes it what the logs say"
    )
    if not (found.clean or found.repaired):
        raise SystemExit(1)


@click.command()
@_store_options
def migrate(**store: Any) -> None:
    """Bring a store that an earlier version wrote to this version's schema; stop every embedding service first."""
    asyncio.run(_migrate(store))


async def _migrate(options: dict[str, Any]) -> None:
    from embedding_service.operations.verify import Verifier
    from embedding_service.redis_store.keys import SCHEMA_VERSION

    async with _opened(options) as store:
        version = await Verifier(store).migrate()
    click.echo(
        f"schema version {version} → {SCHEMA_VERSION}"
        if version != SCHEMA_VERSION
        else f"schema version {version} already"
    )


@click.command()
@_store_options
def du(**store: Any) -> None:
    """Print the memory that users take, by kind of key (sampled)."""
    asyncio.run(_du(store))


async def _du(options: dict[str, Any]) -> None:
    from embedding_service.operations.usage import usage

    async with _opened(options) as store:
        found = await usage(store.client)
    click.echo(f"{'kind':<8}{'keys':>10}{'bytes':>14}{'per key':>10}{'per user':>10}")
    users = max(found.users, 1)
    for kind, keys in sorted(found.keys.items()):
        size = found.bytes_of(kind)
        click.echo(f"{kind:<8}{keys:>10}{size:>14.0f}{size / keys:>10.0f}{size / users:>10.0f}")
    without_log = sum(found.bytes_of(kind) for kind in found.keys if kind != "log")
    click.echo(f"{found.users} users, {without_log / users:.0f} bytes per user without the log")


@click.command("export-users")
@click.argument("file", type=_PATH)
@_store_options
@click.option("--releases", type=_PATH, default=Path("run/releases"), show_default=True, help="Folder of releases.")
def export_users(file: Path, releases: Path, **store: Any) -> None:
    """Write every user's state in the active release's space to a Parquet FILE, one row per user.

    Needs the extra 'parquet'.
    """
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        raise click.ClickException("export-users needs pyarrow: pip install 'twotower[parquet]'") from None
    asyncio.run(_export_users(file, releases, store))


async def _export_users(file: Path, releases: Path, options: dict[str, Any]) -> None:
    from embedding_service.operations import export
    from embedding_service.ports import Space
    from twotower.release import Release

    async with _opened(options) as store:
        active = await store.active_release()
        if not active.release_id:
            raise click.ClickException("no release is active; publish one with `twotower publish`")
        manifest = Release.open(releases / active.release_id, verify=False).manifest
        with _counting("users") as count:
            rows = await export.export_users(store, Space(manifest.encoder_id, manifest.als_id), file, count)
    click.echo(f"{rows} users in {file}")


@click.command()
@click.argument("release", type=_PATH)
@click.option(
    "--embedding", default="127.0.0.1:50051", show_default=True, help="host:port of an embedding service without users."
)
def replay(release: Path, embedding: str) -> None:
    """Feed the reviews of a RELEASE through a live service and compare its features with the offline ones.

    Round n is every user's nth review. After each round the running means must be those of the users' first n reviews
    bit for bit, and the ALS vectors within 1e-5; exit code 1 if not. The service must know none of the users.
    """
    from embedding_service.operations.replay import replay_release
    from twotower.release import Release

    opened = Release.open(release)
    with _counting("reviews") as count:
        found = replay_release(opened, embedding, on_progress=count)
    click.echo(
        f"{found.reviews} reviews of {found.users} users in {found.rounds} rounds, {found.compared} states compared"
    )
    click.echo(
        f"running means that differ: {found.different_means}; largest difference of an ALS element: "
        f"{found.worst_als:.2e}"
    )
    if found.different_means or found.worst_als > found.ALS_TOLERANCE:
        raise SystemExit(1)
