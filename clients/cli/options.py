"""Options that commands share: addresses of the services, TLS, and JSON."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from clients.connection import DEFAULT_EMBEDDING, DEFAULT_RANKING
from clients.recommender import TwotowerClient
from twotower.rpc import ChannelTls

Command = TypeVar("Command", bound=Callable[..., Any])

_PEM = click.Path(exists=True, dir_okay=False, path_type=Path)
_DEFAULTS = {"ranking": DEFAULT_RANKING, "embedding": DEFAULT_EMBEDDING}


def asks(service: Literal["ranking", "embedding"]) -> Callable[[Command], Command]:
    """Add the options that say where the service is and how to trust it; call the command with an open `client`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(
            *,
            tls: bool,
            tls_ca: Path | None,
            tls_certificate: Path | None,
            tls_key: Path | None,
            address: str,
            **options: Any,
        ) -> Any:
            trust = channel_tls(tls, tls_ca, tls_certificate, tls_key)
            client = (
                TwotowerClient(ranking=address, tls=trust)
                if service == "ranking"
                else TwotowerClient(embedding=address, tls=trust)
            )
            with client:
                return command(client=client, **options)

        return _address_option(service)(_tls_options(run))  # type: ignore[return-value]  # click calls it by name, with more options

    return decorate


def json_option(command: Command) -> Command:
    """Add ``--json``, which the command gets as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON object.")(command)


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
        envvar=f"TWOTOWER_{service.upper()}",
        default=_DEFAULTS[service],
        show_default=True,
        show_envvar=True,
        metavar="HOST:PORT",
        help=f"Address of the {service} service.",
    )


def _tls_options(command: Command) -> Command:
    for name, text in (
        ("--tls-key", "PEM file of the private key of that certificate."),
        ("--tls-certificate", "PEM file of the client's certificate, if the service asks for one."),
        ("--tls-ca", "PEM file of the certificate authority that signed the service's certificate; implies --tls."),
    ):
        variable = f"TWOTOWER_{name.strip('-').replace('-', '_').upper()}"
        command = click.option(name, type=_PEM, envvar=variable, show_envvar=True, help=text)(command)
    text = "Connect by TLS; the machine's certificate authorities are trusted unless --tls-ca is given."
    return click.option("--tls", is_flag=True, envvar="TWOTOWER_TLS", show_envvar=True, help=text)(command)
