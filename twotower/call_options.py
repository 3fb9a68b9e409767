"""Options of commands that call the services: where they are, how they are reached, and which release is meant."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import click

from twotower import environment
from twotower.addresses import (
    DEFAULT_ADMIN_EMBEDDING,
    DEFAULT_ADMIN_RANKING,
    DEFAULT_EMBEDDING,
    DEFAULT_RANKING,
    ChannelSettings,
    checked_address,
)
from twotower.errors import InvalidArgument
from twotower.release import MANIFEST, list_releases
from twotower.rpc import ChannelTls
from twotower.token_file import TokenFile

Command = Callable[..., Any]
Listener = Literal["ranking", "embedding", "admin-ranking", "admin-embedding"]
LATEST: Final = "latest"
_LISTED_RELEASES: Final = 5

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_ADDRESSES: Final[dict[Listener, tuple[str, str, str]]] = {
    "ranking": (environment.RANKING, DEFAULT_RANKING, "ranking service"),
    "embedding": (environment.EMBEDDING, DEFAULT_EMBEDDING, "embedding service"),
    "admin-ranking": (
        environment.ADMIN_RANKING,
        DEFAULT_ADMIN_RANKING,
        "ranking service's administrative listener, for operators",
    ),
    "admin-embedding": (
        environment.ADMIN_EMBEDDING,
        DEFAULT_ADMIN_EMBEDDING,
        "embedding service's administrative listener, for operators",
    ),
}
_TLS = (
    ("--tls", environment.TLS, "Connect by TLS; the machine's authorities are trusted unless --tls-ca is given."),
    (
        "--tls-ca",
        environment.TLS_CA,
        "PEM file of the authority that signed the service's certificate; implies --tls.",
    ),
    ("--tls-certificate", environment.TLS_CERTIFICATE, "PEM file of the client's certificate, if it is asked for one."),
    ("--tls-key", environment.TLS_KEY, "PEM file of the private key of that certificate."),
)


class _Address(click.ParamType):  # type: ignore[type-arg]  # generic for mypy alone
    """``host:port``."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it."""
        try:
            return checked_address(value, "")
        except InvalidArgument as error:
            self.fail(error.violations[0].description, param, ctx)


def calls(*listeners: Listener) -> Callable[[Command], Command]:
    """Add the options of a command that calls these listeners.

    The command gets each address by its name (`admin_ranking`), and `channels`, a
    :class:`twotower.addresses.ChannelSettings`.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(
            *,
            tls: bool,
            tls_ca: Path | None,
            tls_certificate: Path | None,
            tls_key: Path | None,
            http_proxy: bool,
            token_file: Path | None,
            **others: Any,
        ) -> Any:
            if (tls_certificate is None) != (tls_key is None):
                raise click.UsageError("--tls-certificate and --tls-key go together")
            files = ChannelTls(tls_ca, tls_certificate, tls_key)
            trust = files if tls or files != ChannelTls() else None
            token = TokenFile(token_file) if token_file else None
            return command(channels=ChannelSettings(trust, http_proxy, token), **others)

        decorated = _tls_options(_token_option(_proxy_option(run)))
        for listener in reversed(listeners):
            decorated = _address_option(listener)(decorated)
        return decorated

    return decorate


def _address_option(listener: Listener) -> Callable[[Command], Command]:
    variable, default, text = _ADDRESSES[listener]
    return click.option(
        f"--{listener}",
        type=_Address(),
        envvar=variable,
        default=default,
        show_default=True,
        show_envvar=True,
        metavar="HOST:PORT",
        help=f"Address of the {text}.",
    )


def _tls_options(command: Command) -> Command:
    decorated = command
    for flag, variable, text in reversed(_TLS):
        is_file = flag != "--tls"
        decorated = click.option(
            flag, type=_FILE if is_file else bool, is_flag=not is_file, envvar=variable, show_envvar=True, help=text
        )(decorated)
    return decorated


_proxy_option = click.option(
    "--http-proxy",
    is_flag=True,
    envvar=environment.HTTP_PROXY,
    show_envvar=True,
    help="Connect through the proxy that http_proxy, https_proxy or grpc_proxy names.",
)


_token_option = click.option(
    "--token-file",
    type=_FILE,
    envvar=environment.TOKEN_FILE,
    show_envvar=True,
    help="File of the token (a JWT) that says who calls; never sent in plaintext beyond this machine.",
)


def release_argument(command: Command) -> Command:
    """Add RELEASE and ``--releases``; the command gets `release`, the folder of the release that is meant."""

    @click.argument("release", metavar="RELEASE")
    @click.option(
        "--releases",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="TWOTOWER_EMBEDDING_RELEASES",  # as the embedding service, which opens the release too
        default=Path("run/releases"),
        show_default=True,
        show_envvar=True,
        help=f"Folder of releases, where an id and {LATEST!r} are looked for.",
    )
    @functools.wraps(command)
    def run(*, release: str, releases: Path, **others: Any) -> Any:
        return command(release=_release_folder(release, releases), **others)

    return run


def users_option(command: Command) -> Command:
    """Where the users of releases are kept; the command gets `users`, None for beside the folder of releases."""
    return click.option(
        "--users",
        type=click.Path(file_okay=False, path_type=Path),
        envvar=environment.USERS,
        show_envvar=True,
        help="Folder of the users of releases, kept apart from them.  [default: users, beside the folder of releases]",
    )(command)


def _release_folder(release: str, releases: Path) -> Path:
    """The folder of a release that is named by its folder, by its id or as the newest one.

    Raises:
        UsageError: there is none.
    """
    path = Path(release)
    if (path / MANIFEST).exists():
        return path
    inside = [manifest.release_id for manifest in list_releases(path)]
    if inside:
        raise click.BadParameter(f"{release} is a folder of releases, name one: {_some(inside)}", param_hint="RELEASE")
    ids = [manifest.release_id for manifest in list_releases(releases)]
    if release == LATEST and ids:
        return releases / ids[0]
    if release in ids:
        return releases / release
    there = f"which has {_some(ids)}" if ids else "which has none (--releases names another folder)"
    meant = "" if release == LATEST else f"{release!r} is neither the folder of a release nor the id of one: "
    raise click.BadParameter(f"{meant}no such release in {releases}, {there}", param_hint="RELEASE")


def _some(release_ids: list[str]) -> str:
    """The newest ids."""
    more = len(release_ids) - _LISTED_RELEASES
    return ", ".join(release_ids[:_LISTED_RELEASES]) + (f" and {more} more" if more > 0 else "")
