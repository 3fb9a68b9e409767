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
`p50_ms` of ours at one caller; `batch_users_per_s` of BatchRecommend with 1,024 users a call.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
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
_ENVIRONMENT: Final = Path("run/pytriton")
_SCRIPT: Final = Path(__file__).with_name("pytriton_head.py")


def main() -> None:
    """Measure ours, then the rival, and print."""
    rig.print_machine()
    prepare_grpc()
    context = multiprocessing.get_context("spawn")
    with rig.services() as services, context.Pool(1) as client:
        ours = client.apply(_ours, (services.ranking.address,))
        release = services.release
        print(
            f"ours    p50 {ours['p50_ms']:.2f} ms, p99 {ours['p99_ms']:.2f} ms at 1 caller; "
            f"{ours['calls']:.0f} calls/s at {CALLERS}"
        )
        print(
            f"        p50 {ours['half_p50_ms']:.2f} ms, p99 {ours['half_p99_ms']:.2f} ms at half of it, "
            "Poisson arrivals"
        )
        for callers in FEW_CALLERS:
            print(
                f"        {ours[f'calls_{callers}']:.0f} calls/s, p50 {ours[f'p50_ms_{callers}']:.2f} ms at "
                f"{callers} callers"
            )
        print(f"        BatchRecommend {ours['batch']:.0f} users/s; {ours['degraded']:.0f} degraded answers")
        print(f"        ready {services.ready_s:.1f} s after the start of the process")
        floor = _floor(context, client)
        print(
            f"floor   p50 {floor:.2f} ms at 1 caller: two bare gRPC hops; ours takes "
            f"{ours['p50_ms'] - floor:.2f} ms more"
        )
        weights = _save(release)
    rival = _rival(weights)
    print(
        f"rival   p50 {rival['p50_ms']:.2f} ms at 1 caller; {rival['calls']:.0f} calls/s at {CALLERS} "
        f"(PyTriton {rival['version']})"
    )
    print(f"ratio   throughput {ours['calls'] / rival['calls']:.2f}x, p50 {ours['p50_ms'] / rival['p50_ms']:.2f}x")
    rig.print_json(
        throughput_vs_rival=ours["calls"] / rival["calls"],
        p50_vs_rival=ours["p50_ms"] / rival["p50_ms"],
        p50_ms=ours["p50_ms"],
        batch_users_per_s=ours["batch"],
    )


def _ours(address: str) -> dict[str, float]:
    found: dict[str, float] = {}
    rpc.run(_many_callers(address, found))
    one = _one_caller(address)
    return found | {"p50_ms": 1e3 * float(np.median(one)), "p99_ms": 1e3 * float(np.percentile(one, 99))}


def _one_caller(address: str) -> list[float]:
    """Seconds of each call, one after the other."""
    users = rig.user_ids()
    with rpc.open_channel(address) as channel:
        stub = ranking_service_pb2_grpc.RankingServiceStub(channel)
        return _timed(lambda index: stub.Recommend(pb.RecommendRequest(user_id=users[index % len(users)], k=10)))


def _timed(ask: Callable[[int], object]) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while (start := time.perf_counter()) < end:
        ask(len(times))
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


async def _many_callers(address: str, found: dict[str, float]) -> None:
    users = rig.user_ids()
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
            found |= {
                f"calls_{callers}": len(times) / (SECONDS / 2),
                f"p50_ms_{callers}": 1e3 * float(np.median(times)),
            }
        found |= {
            "calls": calls,
            "half_p50_ms": 1e3 * float(np.median(half)),
            "half_p99_ms": 1e3 * float(np.percentile(half, 99)),
            "batch": await batches(SECONDS),
            "degraded": float(degraded),
        }


def _save(release: Release) -> Path:
    """The network for the rival."""
    weights = release.weights
    tower: dict[str, Any] = {f"kernel{i}": layer.kernel for i, layer in enumerate(weights.user_tower)}
    tower |= {f"bias{i}": layer.bias for i, layer in enumerate(weights.user_tower)}
    first, second, last = weights.fusion
    _ENVIRONMENT.mkdir(parents=True, exist_ok=True)
    path = _ENVIRONMENT / "weights.npz"
    rest: dict[str, Any] = {
        "second": second.kernel,
        "second_bias": second.bias,
        "last": last.kernel,
        "last_bias": last.bias,
    }
    np.savez(path, user_kernel=first.kernel[:64], products=release.product_fusion, **tower, **rest)
    return path


def _rival(weights: Path) -> dict[str, float]:
    """Start the rival, ask it, stop it."""
    python = _ENVIRONMENT / "bin/python"
    if not (_ENVIRONMENT / ".installed").exists():
        subprocess.run(["/usr/bin/python3.11", "-m", "venv", str(_ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "nvidia-pytriton==0.7.0"], check=True)
        (_ENVIRONMENT / ".installed").touch()
    version = subprocess.run(
        [str(python), "-c", "import pytriton; print(pytriton.__version__)"], check=True, capture_output=True, text=True
    )
    port = free_port()
    with (_ENVIRONMENT / "server.log").open("wb") as log:
        command = [str(python), str(_SCRIPT), "serve", str(weights), str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_for(port + 1, server)
        found = []
        for callers in (1, CALLERS):
            command = [str(python), str(_SCRIPT), "load", str(port), str(callers), str(SECONDS)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            found.append([float(value) for value in done.stdout.split()])
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # Triton's own processes may outlive it
    return {"p50_ms": found[0][1], "calls": found[1][0], "version": version.stdout.strip()}  # type: ignore[dict-item]


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Until the port is open; the caller waits for the model."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    sys.exit(f"the rival does not start, see {_ENVIRONMENT / 'server.log'}")


if __name__ == "__main__":
    main()
