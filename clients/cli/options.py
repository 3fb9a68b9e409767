"""The client that commands are called with."""

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from clients.recommender import TwotowerClient
from twotower.call_options import address_option, proxy_option, tls_options
from twotower.rpc import ChannelTls

Command = TypeVar("Command", bound=Callable[..., Any])


def asks(service: Literal["ranking", "embedding"]) -> Callable[[Command], Command]:
    """Add the options that say where the service is and how to reach it; call the command with an open `client`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(*, tls: ChannelTls | None, http_proxy: bool, **options: Any) -> Any:
            address = {service: options.pop(service)}
            with TwotowerClient(**address, tls=tls or False, http_proxy=http_proxy) as client:
                return command(client=client, **options)

        return address_option(service)(tls_options(proxy_option(run)))  # type: ignore[return-value]  # click calls it by name, with more options

    return decorate
