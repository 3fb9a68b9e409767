"""Options of commands that call the services: where they are, how to trust them, and the way to them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from twotower import environment
from twotower.addresses import DEFAULT_EMBEDDING, DEFAULT_RANKING, checked_address
from twotower.errors import InvalidArgument
from twotower.rpc import ChannelTls

Command = Callable[..., Any]

_PEM = click.Path(exists=True, dir_okay=False, path_type=Path)
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


def address_option(service: Literal["ranking", "embedding"]) -> Callable[[Command], Command]:
    """Add ``--ranking`` or ``--embedding``."""
    return click.option(
        f"--{service}",
        type=_Address(),
        envvar=environment.RANKING if service == "ranking" else environment.EMBEDDING,
        default=DEFAULT_RANKING if service == "ranking" else DEFAULT_EMBEDDING,
        show_default=True,
        show_envvar=True,
        metavar="HOST:PORT",
        help=f"Address of the {service} service.",
    )


def tls_options(command: Command) -> Command:
    """Add ``--tls``, ``--tls-ca``, ``--tls-certificate`` and ``--tls-key``.

    The command gets `tls`, a :class:`twotower.rpc.ChannelTls` or None for plaintext.
    """

    @functools.wraps(command)
    def run(
        *, tls: bool, tls_ca: Path | None, tls_certificate: Path | None, tls_key: Path | None, **others: Any
    ) -> Any:
        if (tls_certificate is None) != (tls_key is None):
            raise click.UsageError("--tls-certificate and --tls-key go together")
        files = ChannelTls(tls_ca, tls_certificate, tls_key)
        return command(tls=files if tls or files != ChannelTls() else None, **others)

    decorated: Command = run
    for flag, variable, text in reversed(_TLS):
        is_file = flag != "--tls"
        decorated = click.option(
            flag, type=_PEM if is_file else bool, is_flag=not is_file, envvar=variable, show_envvar=True, help=text
        )(decorated)
    return decorated


proxy_option = click.option(
    "--http-proxy",
    is_flag=True,
    envvar=environment.HTTP_PROXY,
    show_envvar=True,
    help="Connect through the proxy that http_proxy, https_proxy or grpc_proxy names.",
)
