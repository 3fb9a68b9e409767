"""``python -m twotower.health 127.0.0.1:50051``: exit code 0 if the server there is SERVING; for container health checks."""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from twotower.rpc import open_channel


def is_serving(target: str, timeout_s: float = 2.0) -> bool:
    """Whether the server at ``host:port`` answers the standard health check with SERVING."""
    with open_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(0 if is_serving(sys.argv[1]) else 1)
