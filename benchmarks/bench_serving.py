"""Recommendations over gRPC, everything on this machine: client process, ranking service, embedding service, real
Redis.

The rival is NVIDIA PyTriton, a Python model server with Triton's C++ gRPC front, in an environment of its own that this
script makes under `run/` (Debian's python3.11; its bundled interpreter needs 3.11.2). It serves the same network as
numpy code and is given the finished user row: no feature look-up, no Redis. Both are asked by a separate client
process, one after the other: one caller by a blocking client, 64 by 64 threads of the rival's blocking client and by 64
tasks of our asyncio client. All clients and servers run gRPC as our services do, without its event engine
(twotower/grpc_environment.py).

A request to ours crosses two gRPC hops, the rival's one. What two hops of Python cost alone is printed too: a server of
`grpc.aio`, on the same event loop, that answers bytes and asks another such server for them.

The last line is JSON: `throughput_vs_rival` at 64 callers; `p50_vs_rival`, ours over the rival's at one caller;
`p50_ms` of ours at one caller; `batch_users_per_s` of BatchRecommend with 1,024 users per call.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np

from benchmarks import rig
from tests.support.processes import free_port
from twotower import rpc
from twotower.grpc_environment import prepare_grpc
from twotower.release import Release
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import ranking_service_pb2_grpc

SECONDS: Final = 5.0
CALLERS: Final = 64
FEW_CALLERS: Final = (2, 4, 8, 16)
_LOG: Final = Path("run/pytriton/server.log")


def main() -> None:
    """Measure ours, then the rival, and print."""
    rig.print_machine("jax", "grpcio")
    prepare_grpc()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="twotower-bench-") as folder:
        weights = Path(folder) / "weights.npz"
        with rig.services() as services, context.Pool(1) as client:
            ours = client.apply(_ours, (services.ranking.address,))
            floor_ms = _floor(context, client)
            _print_ours(ours, floor_ms, services.ready_s)
            _save(services.release, weights)
        rival = _rival(weights)
    print(
        f"rival   p50 {rival.p50_ms:.2f} ms at 1 caller; {rival.calls:.0f} calls/s at {CALLERS} "
        f"(PyTriton {rival.version})"
    )
    print(f"ratio   throughput {ours['calls'] / rival.calls:.2f}x, p50 {ours['p50_ms'] / rival.p50_ms:.2f}x")
    rig.print_json(
        throughput_vs_rival=ours["calls"] / rival.calls,
        p50_vs_rival=ours["p50_ms"] / rival.p50_ms,
        p50_ms=ours["p50_ms"],
        batch_users_per_s=ours["batch"],
    )


def _print_ours(ours: dict[str, float], floor_ms: float, ready_s: float) -> None:
    print(
        f"ours    p50 {ours['p50_ms']:.2f} ms, p99 {ours['p99_ms']:.2f} ms at 1 caller; "
        f"{ours['calls']:.0f} calls/s at {CALLERS}"
    )
    half = f"p50 {ours['half_p50_ms']:.2f} ms, p99 {ours['half_p99_ms']:.2f} ms"
    print(f"        {half} at half of it, Poisson arrivals")
    for callers in FEW_CALLERS:
        calls, p50_ms = ours[f"calls_{callers}"], ours[f"p50_ms_{callers}"]
        print(f"        {calls:.0f} calls/s, p50 {p50_ms:.2f} ms at {callers} callers")
    print(f"        BatchRecommend {ours['batch']:.0f} users/s; {ours['degraded']:.0f} degraded answers")
    print(f"        ready {ready_s:.1f} s after the start of the process")
    more_ms = ours["p50_ms"] - floor_ms
    print(f"floor   p50 {floor_ms:.2f} ms at 1 caller: two bare gRPC hops; ours takes {more_ms:.2f} ms more")


def _ours(address: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    rpc.run(_many_callers(address, figures))
    one = _one_caller(address)
    return figures | {"p50_ms": 1e3 * float(np.median(one)), "p99_ms": 1e3 * float(np.percentile(one, 99))}


def _one_caller(address: str) -> list[float]:
    """Seconds of each call, one after the other."""
    users = rig.USER_IDS
    with rpc.open_channel(address) as channel:
        stub = ranking_service_pb2_grpc.RankingServiceStub(channel)
        return _timed(lambda index: stub.Recommend(pb.RecommendRequest(user_id=users[index % len(users)], k=10)))


def _timed(call: Callable[[int], object]) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while (start := time.perf_counter()) < end:
        call(len(times))
        times.append(time.perf_counter() - start)
    return times


def _floor(context: SpawnContext, client: Pool) -> float:
    """Median, in milliseconds, of a call that crosses two bare servers."""
    ports = [free_port(), free_port()]
    servers = [
        context.Process(target=_serve_bytes, args=pair, daemon=True) for pair in ((ports[0], ports[1]), (ports[1], 0))
    ]
    for server in servers:
        server.start()
    try:
        return client.apply(_call_bytes, (ports[0],))
    finally:
        for server in servers:
            server.terminate()
            server.join()


def _serve_bytes(port: int, next_port: int) -> None:
    """Answer a kilobyte, after asking the server on `next_port` for it if there is one."""

    async def serve() -> None:
        ask: Any = rpc.open_async_channel(f"127.0.0.1:{next_port}").unary_unary("/bench.Bytes/Get")

        async def get(request: bytes, _: object) -> bytes:
            return await ask(request, wait_for_ready=True) if next_port else bytes(1_000)

        server = grpc.aio.server()
        handler = grpc.method_handlers_generic_handler("bench.Bytes", {"Get": grpc.unary_unary_rpc_method_handler(get)})
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()

    rpc.run(serve())


def _call_bytes(port: int) -> float:
    with rpc.open_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary("/bench.Bytes/Get")
        ask(b"user", wait_for_ready=True, timeout=30)
        return 1e3 * float(np.median(_timed(lambda _: ask(b"user"))))


async def _many_callers(address: str, figures: dict[str, float]) -> None:
    users = rig.USER_IDS
    degraded = 0
    async with rpc.open_async_channel(address) as channel:
        stub = ranking_service_pb2_grpc.RankingServiceStub(channel)

        async def ask(index: int, times: list[float]) -> None:
            nonlocal degraded
            start = time.perf_counter()
            answer = await stub.Recommend(pb.RecommendRequest(user_id=users[index % len(users)], k=10))
            degraded += answer.user.degraded
            times.append(time.perf_counter() - start)

        async def load(callers: int, seconds: float) -> list[float]:
            times: list[float] = []
            end = time.perf_counter() + seconds

            async def caller(first: int) -> None:
                index = first
                while time.perf_counter() < end:
                    await ask(index, times)
                    index += callers

            await asyncio.gather(*(caller(first) for first in range(callers)))
            return times

        async def poisson(rate: float, seconds: float) -> list[float]:
            times: list[float] = []
            calls: list[asyncio.Task[None]] = []
            at = time.perf_counter()
            end = at + seconds
            gaps = np.random.default_rng(0)
            while at < end:
                at += gaps.exponential(1 / rate)
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
                calls.append(asyncio.create_task(ask(len(calls), times)))
            await asyncio.gather(*calls)
            return times

        async def batches(seconds: float) -> float:
            count, end = 0, time.perf_counter() + seconds

            async def caller(part: slice) -> None:
                nonlocal count
                while time.perf_counter() < end:
                    answer = await stub.BatchRecommend(pb.BatchRecommendRequest(user_ids=users[part], k=10))
                    count += len(answer.results)  # read after the wait: the other caller counts too

            start = time.perf_counter()
            await asyncio.gather(caller(slice(0, 1024)), caller(slice(1024, 2048)))
            return count / (time.perf_counter() - start)

        await load(8, 1.0)
        calls = len(await load(CALLERS, SECONDS)) / SECONDS
        half = await poisson(calls / 2, SECONDS)
        for callers in FEW_CALLERS:
            times = await load(callers, SECONDS / 2)
            figures |= {
                f"calls_{callers}": len(times) / (SECONDS / 2),
                f"p50_ms_{callers}": 1e3 * float(np.median(times)),
            }
        figures |= {
            "calls": calls,
            "half_p50_ms": 1e3 * float(np.median(half)),
            "half_p99_ms": 1e3 * float(np.percentile(half, 99)),
            "batch": await batches(SECONDS),
            "degraded": float(degraded),
        }


@dataclass(frozen=True)
class Rival:
    """PyTriton's version and figures."""

    version: str
    p50_ms: float
    calls: float


def _rival(weights: Path) -> Rival:
    """Start the rival, ask it, stop it."""
    python = rig.rival_python("pytriton", "nvidia-pytriton==0.7.0", base="/usr/bin/python3.11")
    script = str(Path(__file__).with_name("rival_pytriton.py"))
    port = free_port()
    with _LOG.open("wb") as log:
        command = [str(python), script, "serve", str(weights), str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_for(port + 1, server)
        loads = []
        for callers in (1, CALLERS):
            command = [str(python), script, "load", str(port), str(callers), str(SECONDS)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            loads.append([float(value) for value in done.stdout.split()])
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # Triton's own processes may outlive it
    return Rival(rig.rival_version(python, "nvidia-pytriton"), p50_ms=loads[0][1], calls=loads[1][0])


def _save(release: Release, path: Path) -> None:
    """Write the network for the rival."""
    layers = release.weights.user_tower
    first, second, last = release.weights.fusion
    arrays: dict[str, Any] = {
        **{f"kernel{i}": layer.kernel for i, layer in enumerate(layers)},
        **{f"bias{i}": layer.bias for i, layer in enumerate(layers)},
        "user_kernel": first.kernel[:64],
        "products": release.product_fusion,
        "second": second.kernel,
        "second_bias": second.bias,
        "last": last.kernel,
        "last_bias": last.bias,
    }
    np.savez(path, **arrays)


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Wait until the port is open; the callers wait for the model."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    sys.exit(f"the rival does not start, see {_LOG}")


if __name__ == "__main__":
    main()
