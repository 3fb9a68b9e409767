"""The service as users start it: a process of its own."""

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.releases import write_random_release
from twotower.rpc import open_channel
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import ranking_service_pb2_grpc

LISTEN = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
COMMAND = (sys.executable, "-m", "ranking_service", *LISTEN, "--embedding", "127.0.0.1:1")


def test_serves_until_sigterm(tmp_path: Path) -> None:
    release_id = write_random_release(tmp_path, products=20).release_id
    arguments = [*COMMAND, "--releases", str(tmp_path), "--release", release_id]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process, contextlib.ExitStack() as cleanup:
        cleanup.callback(process.kill)
        assert process.stderr
        port = next(match[1] for line in process.stderr if (match := re.search(r"listening on port (\d+)", line)))
        with open_channel(f"127.0.0.1:{port}") as channel:
            for change in health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(), timeout=120, wait_for_ready=True
            ):
                if change.status == health_pb2.HealthCheckResponse.SERVING:
                    break
            answer = ranking_service_pb2_grpc.RankingServiceStub(channel).Recommend(
                pb.RecommendRequest(user_id="ann", k=3)
            )
        assert (answer.release_id, len(answer.recommendations), answer.user.degraded) == (release_id, 3, True)
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read().strip().endswith("stopped")
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--release", "nothing"], "no release at 'nothing'"),
        (["--release", "../x"], "release_id: must be"),
        (["--queue-users", "3"], "queue_users: "),
        (["--listen", "nonsense"], "nonsense"),
    ],
)
def test_a_bad_start_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [*COMMAND, "--releases", str(tmp_path), *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("ranking_service: ")
    assert message in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
