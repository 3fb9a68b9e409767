"""``python -m twotower.health 127.0.0.1:50051``: exit code 0 if the server there is SERVING; for container health
checks. It obeys ``TWOTOWER_TLS`` and ``TWOTOWER_TLS_…``, and options of the same names; ``--help`` lists them.
"""

import argparse
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from twotower.addresses import channel_tls_of, checked_address
from twotower.environment import TLS, TLS_CA, TLS_CERTIFICATE, TLS_KEY
from twotower.errors import TwotowerError
from twotower.reasons import reason
from twotower.rpc import ChannelTls, open_channel

SERVING = "SERVING"


def health_status(target: str, timeout_s: float = 2.0, tls: ChannelTls | None = None, server_name: str = "") -> str:
    """What the server at ``host:port`` answers to the standard health check: SERVING, NOT_SERVING, …; "" if it does not
    answer.
    """
    try:
        return check(target, timeout_s, tls, server_name)
    except grpc.RpcError:
        return ""


def check(target: str, timeout_s: float, tls: ChannelTls | None, server_name: str) -> str:
    """As :func:`health_status`, for a server that answers.

    Args:
        target: ``host:port``.
        timeout_s: seconds to wait for the answer.
        tls: what the server is verified by; None for plaintext.
        server_name: the name that its certificate is for; "" if that is the host of `target`.

    Raises:
        grpc.RpcError: it does not answer.
    """
    options = [("grpc.ssl_target_name_override", server_name)] if server_name else []
    with open_channel(target, tls, options) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main(arguments: list[str]) -> str:
    """What to print for people; "" if the server is SERVING."""
    parser = argparse.ArgumentParser("python -m twotower.health", description="Exit code 0 if a server is SERVING.")
    parser.add_argument("address", help="host:port")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds to wait for the answer")
    parser.add_argument("--tls", action="store_true", help=f"connect by TLS  [env var: {TLS}]")
    parser.add_argument("--tls-ca", type=Path, help=f"PEM file of the server's authority  [env var: {TLS_CA}]")
    parser.add_argument("--tls-certificate", type=Path, help=f"PEM file of a certificate  [env var: {TLS_CERTIFICATE}]")
    parser.add_argument("--tls-key", type=Path, help=f"PEM file of its key  [env var: {TLS_KEY}]")
    parser.add_argument("--tls-server-name", default="", help="name that the server's certificate is for")
    given = parser.parse_args(arguments)
    try:
        tls = channel_tls_of(given.tls_ca, given.tls_certificate, given.tls_key, wanted=given.tls)
        status = check(checked_address(given.address, "address"), given.timeout, tls, given.tls_server_name)
    except TwotowerError as error:
        return str(error)
    except grpc.RpcError as error:
        return reason(error.code(), error.details() or "", "Check", tls is not None, given.timeout)
    return "" if status == SERVING else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
