"""What the processes of both services share: settings of a server, how one starts, and how one says what is wrong.

Needs pydantic-settings, which the extras of the services bring. It must not import gRPC before :func:`read_settings`
has set what gRPC reads when it is imported.
"""

import itertools
import logging
import resource
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from twotower.grpc_environment import prepare_grpc
from twotower.loopback import is_loopback

if TYPE_CHECKING:
    from twotower.access import Authenticator
    from twotower.rpc import ServerTls

_MAX_PORT: Final = 65_535
_FILES: Final = 16_384
SettingsT = TypeVar("SettingsT", bound="ServerSettings")


def settings_config(package: str, env_prefix: str) -> SettingsConfigDict:
    """Flags of ``python -m <package>``, or environment variables with a prefix; an empty variable is an unset one."""
    return SettingsConfigDict(
        env_prefix=env_prefix,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_prog_name=f"python -m {package}",
    )


def check_address(address: str, least_port: int = 1) -> str:
    """Return the address of a server, ``host:port`` or ``unix:path``.

    Raises:
        ValueError: it is neither, or the port is none.
    """
    if address.startswith("unix:"):
        return address
    host, colon, port = address.rpartition(":")
    if not colon or not host or (":" in host and not (host[0] == "[" and host[-1] == "]")):
        raise ValueError(f"must be host:port, such as 127.0.0.1:50051 or [::1]:50051, got {address!r}")
    if not (port.isascii() and port.isdigit() and least_port <= int(port) <= _MAX_PORT):
        raise ValueError(f"its port must be a number from {least_port} to {_MAX_PORT}, got {port!r}")
    return address


class ServerSettings(BaseSettings):
    """Settings of any server."""

    tls_certificate: Path | None = Field(None, description="PEM file; plaintext if unset")
    tls_key: Path | None = Field(None, description="PEM file")
    tls_client_ca: Path | None = Field(
        None, description="PEM file; clients must then present a certificate that it signed"
    )
    release_public_key: Path | None = Field(
        None, description="PEM file of an Ed25519 key that must have signed every release; any release will do if unset"
    )
    auth_keys: Path | None = Field(
        None, description="JWKS file with the public keys that callers' tokens must be signed with"
    )
    auth_audience: str = Field("twotower", min_length=1, description="what a token's claim `aud` must contain")
    auth_issuer: str | None = Field(None, description="what a token's claim `iss` must be; anything if unset")
    auth_identities: Path | None = Field(
        None, description="TOML file with the roles of client certificates: [identities], SAN = role"
    )
    insecure: bool = Field(
        False, description="listen beyond loopback also without TLS or without authentication: anybody may do anything"
    )
    reflection: bool = Field(True, description="describe the services to callers (gRPC reflection)")
    drain_s: float = Field(10.0, ge=0, description="seconds that calls in flight may take after SIGTERM")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe message to log")

    @field_validator("listen", "admin_listen", check_fields=False)
    @classmethod
    def _check_listen(cls, listen: str) -> str:
        """Refuse what is no address: gRPC would say only that it could not bind."""
        return check_address(listen, least_port=0)

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        self._both_or_neither("tls_certificate", "tls_key")
        self._needs("tls_client_ca", "tls_certificate", "the service speaks plaintext")
        self._needs("auth_identities", "tls_client_ca", "no client shows a certificate")
        self._needs("auth_issuer", "auth_keys", "no token is looked at")
        listeners = [name for name in ("listen", "admin_listen") if name in type(self).model_fields]
        beyond = [name for name in listeners if not is_loopback(getattr(self, name))]
        missing = [
            what
            for what, there in (
                ("TLS (tls_certificate, tls_key)", self.tls_certificate),
                ("authentication (auth_keys, or auth_identities)", self.auth_keys or self.auth_identities),
            )
            if not there
        ]
        if beyond and missing and not self.insecure:
            raise ValueError(
                f"{beyond[0]}: {getattr(self, beyond[0])} can be reached from other machines, so it needs "
                f"{' and '.join(missing)}; --insecure goes without, and then whoever reaches the port may do anything"
            )
        return self

    def _needs(self, setting: str, needed: str, otherwise: str) -> None:
        if getattr(self, setting) is not None and getattr(self, needed) is None:
            raise ValueError(f"{setting}: needs {needed} too: without it {otherwise}")

    def _both_or_neither(self, first: str, second: str) -> None:
        if (getattr(self, first) is None) != (getattr(self, second) is None):
            raise ValueError(f"{first} and {second}: set both or neither")

    @property
    def server_tls(self) -> "ServerTls | None":
        """PEM files of the server; None for plaintext."""
        from twotower.rpc import ServerTls

        if self.tls_certificate is None or self.tls_key is None:
            return None
        return ServerTls(self.tls_certificate, self.tls_key, self.tls_client_ca)

    def authenticator(self) -> "Authenticator | None":
        """Who says who calls; None if nobody is asked.

        Raises:
            InvalidFile: a file is not what it should be.
        """
        from twotower.identity import Certificates, Identities, Tokens

        if not self.auth_keys and not self.auth_identities:
            return None
        return Identities(
            Tokens(self.auth_keys, self.auth_audience, self.auth_issuer) if self.auth_keys else None,
            Certificates(self.auth_identities) if self.auth_identities else None,
        )


def read_settings(package: str, kind: type[SettingsT]) -> SettingsT:
    """Read flags and environment, and prepare the process for gRPC; a wrong setting ends it with one sentence."""
    try:
        settings = CliApp.run(kind, cli_args=_with_values(kind, sys.argv[1:]))
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}".removeprefix(": ")
            for problem in error.errors()
        )
        sys.exit(f"{package}: {'; '.join(problems)}")
    prepare_grpc()
    return settings


def _with_values(kind: type[BaseSettings], arguments: list[str]) -> list[str]:
    """Arguments in which every flag has a value: of a setting that is true or false, ``--flag`` alone means true."""
    flags = {f"--{name.replace('_', '-')}" for name, field in kind.model_fields.items() if field.annotation is bool}
    return [
        f"{argument}=true" if argument in flags and after.startswith("-") else argument
        for argument, after in itertools.pairwise([*arguments, "-"])
    ]


def configure_logging(package: str, level: str = "INFO") -> None:
    """Log `level` and above to standard error, one line per event with time and package."""
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s {package} %(name)s: %(message)s", force=True)


def _allow_files() -> None:
    """Let the process have as many connections as a server takes; the usual limit of files is a quarter of that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_service(package: str, settings: SettingsT, serve: Callable[[SettingsT], Coroutine[Any, Any, None]]) -> None:
    """Serve until the coroutine ends; a problem at start is one line and exit code 1."""
    from twotower import rpc
    from twotower.errors import TwotowerError

    try:
        configure_logging(package, settings.log_level)
        _allow_files()
        rpc.run(serve(settings))
    except (TwotowerError, OSError, RuntimeError) as error:
        sys.exit(f"{package}: {error}")
