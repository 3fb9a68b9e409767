"""The client that commands are called with."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from clients.recommender import TwotowerClient
from twotower.addresses import ChannelSettings
from twotower.call_options import Listener, calls

Command = TypeVar("Command", bound=Callable[..., Any])


def asks(listener: Listener) -> Callable[[Command], Command]:
    """Add the options that say where the listener is and how to reach it; call the command with an open `client`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(*, channels: ChannelSettings, **options: Any) -> Any:
            name = listener.replace("-", "_")
            arguments: dict[str, Any] = {name: options.pop(name), "tls": channels.tls or False}
            token, proxy = channels.token or False, channels.http_proxy
            with TwotowerClient(**arguments, token_file=token, http_proxy=proxy) as client:
                return command(client=client, **options)

        return calls(listener)(run)  # type: ignore[return-value]  # click calls it by name, with more options

    return decorate
