"""``python -m twotower.health 127.0.0.1:50051``: exit code 0 if the server there is SERVING; for container health
checks.
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from twotower.rpc import open_channel


def health_status(target: str, timeout_s: float = 2.0) -> str:
    """What the server at ``host:port`` answers to the standard health check: SERVING, NOT_SERVING, …; "" if it does not
    answer.
    """
    with open_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return ""
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


if __name__ == "__main__":
    sys.exit(0 if health_status(sys.argv[1]) == "SERVING" else 1)
