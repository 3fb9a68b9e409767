"""100 swaps of the served release under load, against the same load without a swap.

Two callers ask without a pause while LoadRelease goes back and forth between two releases. The rival is the service
itself left alone: p99 before, p99 while swaps run, failed requests, and memory before and after. Both releases have
been loaded twice before the measurement starts: the first loads compile, later ones reuse what was compiled.

The last line is JSON: `failed` requests; `p99_ratio`, p99 during the swaps over p99 before; `rss_growth`, resident
memory after over before, less 1.
"""

import asyncio
import time
from typing import Final

import numpy as np
import psutil

from benchmarks import rig
from tests.support.releases import write_random_release
from twotower.rpc import open_async_channel
from twotower.v1 import ranking_service_pb2, ranking_service_pb2_grpc, release_service_pb2, release_service_pb2_grpc

SWAPS: Final = 100
CALLERS: Final = 2
BASELINE_S: Final = 10.0


def main() -> None:
    """Start the services, swap, print."""
    rig.print_machine("jax", "grpcio")
    with rig.services() as services:
        root = services.release.path.parent
        # The spaces must be the same, so only the metrics differ, and with them the id.
        other = write_random_release(
            root, products=rig.PRODUCTS, encoder=rig.encoder_folder(), lift=True, metrics={"other": 1}
        )
        asyncio.run(_swap(services, [other.release_id, services.release.release_id]))


async def _swap(services: rig.Services, release_ids: list[str]) -> None:
    process = psutil.Process(services.ranking.process.pid)
    async with open_async_channel(services.ranking.admin_address) as channel:
        ranking = ranking_service_pb2_grpc.RankingServiceStub(channel)
        releases = release_service_pb2_grpc.ReleaseServiceStub(channel)

        async def swap(count: int) -> None:
            for index in range(count):
                await releases.LoadRelease(release_service_pb2.LoadReleaseRequest(release_id=release_ids[index % 2]))

        async def load(until: asyncio.Task[None]) -> tuple[list[float], int, int]:
            times, failed, degraded = [], 0, 0

            async def caller(first: int) -> None:
                nonlocal failed, degraded
                index = first
                while not until.done():
                    start = time.perf_counter()
                    try:
                        answer = await ranking.Recommend(
                            ranking_service_pb2.RecommendRequest(user_id=rig.USER_IDS[index % len(rig.USER_IDS)], k=10)
                        )
                        failed += answer.release_id not in release_ids or len(answer.recommendations) != 10
                        degraded += answer.user.degraded
                    except Exception as error:
                        print(f"failed: {error}")
                        failed += 1
                    times.append(time.perf_counter() - start)
                    index += CALLERS

            await asyncio.gather(*(caller(first) for first in range(CALLERS)), until)
            return times, failed, degraded

        await load(asyncio.create_task(swap(6)))
        before, *_ = await load(asyncio.create_task(asyncio.sleep(BASELINE_S)))
        rss = process.memory_info().rss
        start = time.perf_counter()
        during, failed, degraded = await load(asyncio.create_task(swap(SWAPS)))
        seconds = time.perf_counter() - start
    p99 = [1e3 * float(np.percentile(times, 99)) for times in (before, during)]
    p50 = [1e3 * float(np.median(times)) for times in (before, during)]
    grown = process.memory_info().rss
    print(
        f"{SWAPS} swaps in {seconds:.1f} s; {len(during)} requests, {failed} failed, {degraded} answered "
        "without features"
    )
    print(
        f"p50 {p50[0]:.2f} ms alone, {p50[1]:.2f} ms during; p99 {p99[0]:.2f} ms alone, {p99[1]:.2f} ms "
        f"during: {p99[1] / p99[0]:.2f}x"
    )
    print(f"resident memory {rss / 2**20:.0f} MB before, {grown / 2**20:.0f} MB after")
    rig.print_json(failed=failed, p99_ratio=p99[1] / p99[0], rss_growth=grown / rss - 1)


if __name__ == "__main__":
    main()
