"""Workers that share a port, as real processes."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.releases import write_random_release
from twotower.rpc import open_channel
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import ranking_service_pb2_grpc as pb_grpc
from twotower.v1 import release_service_pb2
from twotower.v1.release_service_pb2_grpc import ReleaseServiceStub


def test_a_killed_worker_is_replaced_and_nobody_notices(tmp_path: Path) -> None:
    """Every request has a connection of its own, so the kernel may hand it to any worker that listens; none may
    fail.
    """
    release_id = write_random_release(tmp_path, products=20).release_id
    arguments = ("--releases", tmp_path, "--release", release_id, "--embedding", "127.0.0.1:1", "--workers", 2)
    service = processes.Service("ranking_service", tmp_path / "log", *arguments)

    def ready() -> int:
        return service.log().count(": ready ")

    with processes.running(service):
        service.wait_until("SERVING")
        while ready() < 2:  # the test's own time limit ends it, here and below
            time.sleep(0.05)
        shown, token = set[str](), ""
        for page in range(1, 6):  # any worker answers the next page
            answer = _ask(service.address, paginate=True, page_token=token)
            shown, token = shown | {row.product_id for row in answer.recommendations}, answer.next_page_token
            assert len(shown) == 3 * page
        killed, _ = _workers(service.process.pid)
        os.kill(killed, signal.SIGKILL)
        while "ended with -9" not in service.log():
            time.sleep(0.01)
        asked_before = asked_after = 0
        while asked_after < 40:
            if ready() < 3:
                asked_before += 1
            else:
                asked_after += 1
            answer = _ask(service.address)
            assert (answer.release_id, answer.user.degraded) == (release_id, True)
            assert _listed(service.admin_address) == [release_id]
        assert asked_before > 0
        assert killed not in _workers(service.process.pid)
        assert len(_workers(service.process.pid)) == 2
        assert service.stop() == 0


def _ask(address: str, **more: Any) -> pb.RecommendResponse:
    with open_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        return pb_grpc.RankingServiceStub(channel).Recommend(
            pb.RecommendRequest(user_id="ann", k=3, **more), timeout=30
        )


def _listed(address: str) -> list[str]:
    with open_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = ReleaseServiceStub(channel).ListReleases(release_service_pb2.ListReleasesRequest(), timeout=30)
        return [info.release_id for info in answer.releases]


def _workers(pid: int) -> list[int]:
    """Processes that were spawned to serve; multiprocessing's own resource tracker is none of them."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
