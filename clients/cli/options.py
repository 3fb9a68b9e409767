"""Options that commands share: where the services are, how to trust them, and the way to them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from clients.addresses import DEFAULT_EMBEDDING, DEFAULT_RANKING, checked_address
from clients.errors import InvalidArgument
from clients.recommender import TwotowerClient
from twotower import environment
from twotower.rpc import ChannelTls

Command = TypeVar("Command", bound=Callable[..., Any])

_PEM = click.Path(exists=True, dir_okay=False, path_type=Path)
_DEFAULTS = {"ranking": DEFAULT_RANKING, "embedding": DEFAULT_EMBEDDING}


class _Address(click.ParamType):  # type: ignore[type-arg]  # generic for mypy alone
    """``host:port``."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it."""
        try:
            return checked_address(value, "")
        except InvalidArgument as error:
            self.fail(error.violations[0].description, param, ctx)


def asks(service: Literal["ranking", "embedding"]) -> Callable[[Command], Command]:
    """Add the options that say where the service is and how to reach it; call the command with an open `client`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(
            *,
            tls: bool,
            tls_ca: Path | None,
            tls_certificate: Path | None,
            tls_key: Path | None,
            http_proxy: bool,
            address: str,
            **options: Any,
        ) -> Any:
            trust = channel_tls(tls, tls_ca, tls_certificate, tls_key) or False
            with TwotowerClient(**{service: address}, tls=trust, http_proxy=http_proxy) as client:  # type: ignore[arg-type]
                return command(client=client, **options)

        return _address_option(service)(_way_options(run))  # type: ignore[return-value]  # click calls it by name, with more options

    return decorate


def channel_tls(tls: bool, ca: Path | None, certificate: Path | None, key: Path | None) -> ChannelTls | None:
    """What the TLS options ask for; plaintext if none is given.

    Raises:
        click.UsageError: a certificate was given without its key, or a key without its certificate.
    """
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-certificate and --tls-key go together")
    return ChannelTls(ca, certificate, key) if tls or ca or certificate else None


def _address_option(service: str) -> Callable[[Command], Command]:
    return click.option(
        f"--{service}",
        "address",
        type=_Address(),
        envvar=environment.RANKING if service == "ranking" else environment.EMBEDDING,
        default=_DEFAULTS[service],
        show_default=True,
        show_envvar=True,
        metavar="HOST:PORT",
        help=f"Address of the {service} service.",
    )


def _way_options(command: Command) -> Command:
    for flag, variable, text in (
        ("--http-proxy", environment.HTTP_PROXY, "Connect through the proxy that http_proxy or grpc_proxy names."),
        ("--tls-key", environment.TLS_KEY, "PEM file of the private key of that certificate."),
        (
            "--tls-certificate",
            environment.TLS_CERTIFICATE,
            "PEM file of the client's certificate, if the service asks for one.",
        ),
        (
            "--tls-ca",
            environment.TLS_CA,
            "PEM file of the certificate authority that signed the service's certificate; implies --tls.",
        ),
        (
            "--tls",
            environment.TLS,
            "Connect by TLS; the machine's certificate authorities are trusted unless --tls-ca is given.",
        ),
    ):
        is_file = flag.startswith("--tls-")
        command = click.option(
            flag, type=_PEM if is_file else bool, is_flag=not is_file, envvar=variable, show_envvar=True, help=text
        )(command)
    return command
