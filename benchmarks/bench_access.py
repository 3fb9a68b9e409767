"""What TLS and authentication cost: recommendations from services in plaintext, by TLS, and by TLS with a token.

All three pairs of services run at once and are asked in turns, so that a busy moment of the machine meets each of them.
The way from ranking to the embedding service is secured as the way to ranking is.

The last line is JSON: throughput at 64 callers and median latency at one, each over that in plaintext (`tls_…`), and
over that by TLS without a token (`token_…`); and the same of the services' CPU time per call, which holds on a busy
machine too.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks import rig
from twotower import rpc
from twotower.addresses import ChannelSettings
from twotower.grpc_environment import prepare_grpc
from twotower.rpc import ChannelTls
from twotower.token_file import TokenFile
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import ranking_service_pb2_grpc

CALLERS: Final = 64
SECONDS: Final = 2.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds: int = parser.parse_args().rounds
    prepare_grpc()
    rig.print_machine("grpcio")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        kinds = securities(Path(folder))
        services = {name: stack.enter_context(rig.services(kind)) for name, kind in kinds.items()}
        addresses = {name: each.ranking.address for name, each in services.items()}
        cpu_us: dict[str, list[float]] = {name: [] for name in kinds}
        calls: dict[str, list[float]] = {name: [] for name in kinds}
        p50_ms: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(rounds):
            for name, kind in kinds.items():
                before = _cpu_s(services[name])
                answered = len(_ask(addresses[name], kind.channels, CALLERS))
                cpu_us[name].append(1e6 * (_cpu_s(services[name]) - before) / answered)
                calls[name].append(answered / SECONDS)
                p50_ms[name].append(1e3 * statistics.median(_ask(addresses[name], kind.channels, 1)))
    for name in kinds:
        throughput, latency = statistics.median(calls[name]), statistics.median(p50_ms[name])
        cpu = statistics.median(cpu_us[name])
        line = f"{name:<10} {throughput:6.0f} calls/s and {cpu:.0f} µs of CPU in both services per call at {CALLERS}"
        print(f"{line} callers; p50 {latency:.2f} ms at one")
    rig.print_machine()

    def ratio(figures: dict[str, list[float]], over: str, under: str) -> float:
        """Median of the rounds' ratios: those of one round met the same machine."""
        return statistics.median(a / b for a, b in zip(figures[over], figures[under], strict=True))

    rig.print_json(
        tls_throughput=ratio(calls, "tls", "plaintext"),
        tls_p50=ratio(p50_ms, "tls", "plaintext"),
        tls_cpu=ratio(cpu_us, "tls", "plaintext"),
        token_cpu=ratio(cpu_us, "tls, token", "tls"),
        token_throughput=ratio(calls, "tls, token", "tls"),
        token_p50=ratio(p50_ms, "tls, token", "tls"),
    )


def _cpu_s(services: rig.Services) -> float:
    """Seconds of CPU that both services have used, which a busy machine does not change."""
    ticks = 0
    for service in (services.embedding, services.ranking):
        fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def securities(folder: Path) -> dict[str, rig.Security]:
    """Three ways to be secure, with certificates and tokens in a folder."""
    subprocess.run([sys.executable, "tools/dev_certificates.py", "--out", folder], check=True, capture_output=True)
    trust = ChannelTls(folder / "ca.pem")
    served = ("--tls-certificate", folder / "server.pem", "--tls-key", folder / "server-key.pem")
    asked = ("--embedding-tls", "true", "--embedding-ca", folder / "ca.pem")
    operator = TokenFile(folder / "operator.token")
    return {
        "plaintext": rig.Security(),
        "tls": rig.Security(served, asked, ChannelSettings(trust)),
        "tls, token": rig.Security(
            (*served, "--auth-keys", folder / "keys.json"),
            (*asked, "--embedding-token-file", folder / "ranking.token"),
            ChannelSettings(trust, token=operator),
        ),
    }


def _ask(address: str, channels: ChannelSettings, callers: int) -> list[float]:
    """Seconds of each call that this many callers make in a turn."""
    times: list[float] = []
    metadata = channels.token.metadata() if channels.token else None

    async def load() -> None:
        async with rpc.open_async_channel(address, channels.tls) as channel:
            stub = ranking_service_pb2_grpc.RankingServiceStub(channel)
            await channel.channel_ready()
            end = time.perf_counter() + SECONDS

            async def caller(index: int) -> None:
                while (start := time.perf_counter()) < end:
                    user = rig.USER_IDS[index % len(rig.USER_IDS)]
                    await stub.Recommend(pb.RecommendRequest(user_id=user, k=10), metadata=metadata)
                    times.append(time.perf_counter() - start)
                    index += callers

            await asyncio.gather(*map(caller, range(callers)))

    rpc.run(load())
    return times


if __name__ == "__main__":
    main()
