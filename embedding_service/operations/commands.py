"""Sub-commands of `twotower` for operators of the store: verify, migrate, du, export-users, replay."""

import asyncio
import contextlib
import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedding_service.redis_store.url import EMBEDDED, check_tls, parse_store_url, with_password_file
from twotower.addresses import ChannelSettings
from twotower.call_options import calls, release_argument, users_option
from twotower.cli import json_option, print_json

if TYPE_CHECKING:
    from embedding_service.operations.verify import Verified
    from embedding_service.redis_store.user_store import RedisUserStore

_PATH = click.Path(path_type=Path)
_TIMEOUT_S = 30.0
_PREFIX = "TWOTOWER_EMBEDDING_"  # as of EmbeddingSettings


def _option(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that obeys the service's variable of the same setting."""
    variable = _PREFIX + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, envvar=variable, show_envvar=True, **attributes)


_STORE_OPTIONS = (
    _option("--store", default=EMBEDDED, help="As for the embedding service: 'embedded' (the default) or a URL."),
    _option(
        "--data-dir",
        type=_PATH,
        default=Path("run/embedding"),
        show_default=True,
        help="Folder of the embedded store.",
    ),
    _option("--redis-password-file", type=_PATH, help="File with the password of Redis' user, if --store has none."),
    _option("--redis-ca", type=_PATH, help="PEM file of the authority that signed Redis' certificate."),
    _option("--redis-certificate", type=_PATH, help="PEM file of the client's certificate."),
    _option("--redis-key", type=_PATH, help="PEM file of the client's key."),
)


def _checked_store(store: str, redis_password_file: Path | None) -> str:
    """The store, with the password of the file if there is one."""
    try:
        if store != EMBEDDED:
            parse_store_url(store)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--store") from None
    try:
        return with_password_file(store, redis_password_file)
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--redis-password-file") from None


@contextlib.asynccontextmanager
async def _opened_store(
    store: str, data_dir: Path, redis_ca: Path | None, redis_certificate: Path | None, redis_key: Path | None
) -> AsyncIterator["RedisUserStore"]:
    """The store; an embedded one is the running service's, or is started for the command."""
    from embedding_service.redis_store.client import connect, redis_tls
    from embedding_service.redis_store.embedded import running_or_started
    from embedding_service.redis_store.user_store import RedisUserStore
    from twotower.errors import StoreUnavailable

    try:
        check_tls(store, (redis_ca, redis_certificate, redis_key))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--redis-ca, --redis-certificate, --redis-key") from None
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(running_or_started(data_dir)) if store == EMBEDDED else store
        tls = redis_tls(redis_ca, redis_certificate, redis_key)
        opened = RedisUserStore(connect(url, timeout_s=_TIMEOUT_S, connections=4, tls=tls))
        stack.push_async_callback(opened.close)
        try:
            yield opened
        except StoreUnavailable as error:
            reason = str(error.__cause__ or "")
            if not reason or reason in str(error):
                raise
            raise StoreUnavailable(f"{error} ({reason})") from error


def _on_store(command: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a command on an opened store, its first argument, with options that say where the store is."""

    @functools.wraps(command)
    def run(*, store: str, redis_password_file: Path | None, **options: Any) -> None:
        options["store"] = _checked_store(store, redis_password_file)
        where = {name: options.pop(name) for name in inspect.signature(_opened_store).parameters}

        async def run_opened() -> None:
            async with _opened_store(**where) as opened:
                await command(opened, **options)

        asyncio.run(run_opened())

    for option in reversed(_STORE_OPTIONS):
        option(run)
    return json_option(run)


@contextlib.contextmanager
def _counting(unit: str) -> Iterator[Callable[[int], None]]:
    """Shows a growing number on standard error, if that is a terminal."""
    total = 0
    shown = sys.stderr.isatty()

    def add(more: int) -> None:
        nonlocal total
        total += more
        if shown:
            click.echo(f"\r{total} {unit}", err=True, nl=False)

    yield add
    if shown:
        click.echo("", err=True)


@click.command()
@click.option("--repair", is_flag=True, help="Mend what differs from the logs.")
@_on_store
async def verify(store: "RedisUserStore", repair: bool, as_json: bool) -> None:
    """Recompute sums, counts, seen products and popularity from the logs and compare them bit for bit.

    Exit code 1 if anything differs and is not repaired.
    """
    from embedding_service.operations.verify import Verifier

    await store.active_release()  # a store of another schema is refused
    with _counting("users") as count:
        verified = await Verifier(store).verify(repair=repair, on_progress=count)
    if as_json:
        fields = ("user_id", "encoder_id", "problem")
        problems = [dict(zip(fields, problem, strict=True)) for problem in verified.problems]
        print_json({**vars(verified), "problems": problems, "clean": verified.clean})
    else:
        _print_verified(verified)
    if not (verified.clean or verified.repaired):
        raise SystemExit(1)


def _print_verified(verified: "Verified") -> None:
    click.echo(f"{verified.users} users, {verified.reviews} reviews")
    for user_id, encoder_id, problem in verified.problems:
        click.echo(f"  {user_id!r}, encoder {encoder_id}: {problem}")
    for encoder_id, wrong in verified.popularity.items():
        if wrong is None:
            click.echo(f"  popularity, encoder {encoder_id}: not compared, reviews were written meanwhile")
        elif wrong:
            click.echo(f"  popularity, encoder {encoder_id}: {wrong} reviews too many or too few")
    if verified.clean or verified.repaired:
        click.echo("clean" if verified.clean else "repaired")
    else:
        click.echo("not clean: --repair makes it what the logs say")


@click.command()
@_on_store
async def migrate(store: "RedisUserStore", as_json: bool) -> None:
    """Bring a store that an earlier version wrote to this version's schema; stop every embedding service first."""
    from embedding_service.operations.verify import Verifier
    from embedding_service.redis_store.keys import SCHEMA_VERSION

    version = await Verifier(store).migrate()
    if as_json:
        print_json({"version_before": version, "version": SCHEMA_VERSION})
        return
    click.echo(f"schema version {version} " + ("already" if version == SCHEMA_VERSION else f"→ {SCHEMA_VERSION}"))


@click.command()
@_on_store
async def du(store: "RedisUserStore", as_json: bool) -> None:
    """Print the memory that users take, by kind of key (sampled)."""
    from embedding_service.operations.usage import usage
    from embedding_service.redis_store.keys import LOG_KIND

    memory = await usage(store.client)
    users = max(memory.users, 1)
    without_log = sum(memory.bytes_of(kind) for kind in memory.keys if kind != LOG_KIND) / users
    sizes = {kind: {"keys": keys, "bytes": memory.bytes_of(kind)} for kind, keys in sorted(memory.keys.items())}
    if as_json:
        print_json({"users": memory.users, "kinds": sizes, "bytes_per_user_without_log": without_log})
        return
    click.echo(f"{'kind':<14}{'keys':>10}{'bytes':>14}{'per key':>10}{'per user':>10}")
    for kind, size in sizes.items():
        keys, total = size["keys"], size["bytes"]
        click.echo(f"{kind:<14}{keys:>10}{total:>14.0f}{total / keys:>10.0f}{total / users:>10.0f}")
    click.echo(f"{memory.users} users, {without_log:.0f} bytes per user without the log")


@click.command("export-users")
@click.argument("file", type=_PATH)
@_option("--releases", type=_PATH, default=Path("run/releases"), show_default=True, help="Folder of releases.")
@_on_store
async def export_users(store: "RedisUserStore", file: Path, releases: Path, as_json: bool) -> None:
    """Write every user's state in the active release's space to a Parquet FILE, one row per user.

    Needs the extra 'parquet'.
    """
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        raise click.ClickException("export-users needs pyarrow: pip install 'twotower[parquet]'") from None
    from embedding_service.operations import export
    from embedding_service.ports import Space
    from twotower.release import Release

    active = await store.active_release()
    if not active.release_id:
        raise click.ClickException("no release is active; publish one with `twotower publish`")
    manifest = Release.open(releases / active.release_id, verify=False).manifest
    with _counting("users") as count:
        rows = await export.export_users(store, Space(manifest.encoder_id, manifest.als_id), file, count)
    if as_json:
        print_json({"users": rows, "file": file, "release_id": active.release_id})
        return
    click.echo(f"{rows} users in {file}")


@click.command()
@release_argument
@users_option
@calls("embedding", "admin-embedding")
@json_option
def replay(
    *, release: Path, users: Path | None, embedding: str, admin_embedding: str, channels: ChannelSettings, as_json: bool
) -> None:
    """Feed the reviews of a RELEASE through a live service and compare its features with the offline ones.

    RELEASE is the folder of a release, or the id of one in --releases, or `latest`. Round n is every user's nth review.
    After each round the running means must be those of the users' first n reviews bit for bit, and the ALS vectors
    within 1e-5; exit code 1 if not. The embedding service must know none of the users.
    """
    from embedding_service.operations.replay import replay_release
    from twotower.release import Release

    opened = Release.open(release.resolve(), users=users)
    with _counting("reviews") as count:
        replayed = replay_release(opened, embedding, admin_embedding, channels, on_progress=count)
    equal = not replayed.different_means and replayed.worst_als <= replayed.ALS_TOLERANCE
    if as_json:
        print_json(replayed, release_id=opened.release_id, equal=equal)
    else:
        click.echo(
            f"{replayed.reviews} reviews of {replayed.users} users in {replayed.rounds} rounds, "
            f"{replayed.compared} states compared"
        )
        click.echo(
            f"running means that differ: {replayed.different_means}; largest difference of an ALS element: "
            f"{replayed.worst_als:.2e}"
        )
    if not equal:
        raise SystemExit(1)
