"""`twotower demo` for real, on a small file: every part in its own process."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clients.demo.processes import ProcessId
from clients.demo.session import RunDirectory

TWOTOWER = Path(sys.executable).with_name("twotower")


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TWOTOWER, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv.gz"
    assert run(tmp_path, "sample-data", str(path), "--reviews", "300").returncode == 0
    return path


ELSEWHERE = {
    "TWOTOWER_RANKING": "127.0.0.1:1",
    "TWOTOWER_EMBEDDING_STORE": "redis://127.0.0.1:1",
    "TWOTOWER_RANKING_RELEASE": "nothing-0123456789ab",
    "TWOTOWER_TLS": "true",
}
"""Variables of other services, with which a demo has nothing to do."""


def test_up_and_down(tmp_path: Path, reviews: Path) -> None:
    up = run(tmp_path, "demo", "--reviews", str(reviews), "--keep-up", **ELSEWHERE)
    directory = RunDirectory(tmp_path / "run" / "demo")
    session = directory.session()
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        assert session is not None
        assert session.left_running
        for words in ("warm user", "cold user", "anonymous user", "Before", f"recommend {session.user_id}"):
            assert words in up.stdout
        for words in ("unset TWOTOWER_TLS", f"export TWOTOWER_RANKING={session.ranking}", "logs are in run/demo/logs"):
            assert words in up.stdout
        asked = run(tmp_path, "recommend", session.user_id, "--json", TWOTOWER_RANKING=session.ranking)
        assert json.loads(asked.stdout)["user"]["kind"] == "warm"
        (verify,) = (line for line in up.stdout.splitlines() if "verify --data-dir" in line)
        checked = run(tmp_path, *shlex.split(verify)[1:])
        assert (checked.returncode, checked.stdout.splitlines()[-1]) == (0, "clean")
        assert (
            run(tmp_path, "demo").stderr
            == "Error: a demo is running in run/demo: stop it with `twotower demo --stop`\n"
        )
        assert session.ranking in run(tmp_path, "demo", "--keep-up").stdout
        again = json.loads(run(tmp_path, "demo", "--keep-up", "--json").stdout)
        assert (again["running"], again["ranking"], again["user_id"]) == (True, session.ranking, session.user_id)
    finally:
        down = run(tmp_path, "demo", "--stop")
    assert (down.returncode, down.stdout) == (0, "stopped\n")
    assert not session.alive
    assert "no demo is running" in run(tmp_path, "demo", "--stop").stdout
    assert json.loads(run(tmp_path, "demo", "--stop", "--json").stdout) == {"stopped": False}


def test_as_json_it_is_one_document_on_an_output_that_is_not_utf_8(tmp_path: Path, reviews: Path) -> None:
    done = run(tmp_path, "demo", "--reviews", str(reviews), "--json", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    kinds = {name: answer["answer"]["user"]["kind"] for name, answer in told["answers"].items()}
    assert kinds == {"warm": "warm", "cold": "cold", "anonymous": "anonymous", "cold_after_a_review": "warm"}
    assert (told["running"], told["ranking"]) == (False, None)
    assert told["seconds"]
    assert "Before" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_leaves_nothing(tmp_path: Path, reviews: Path) -> None:
    directory = RunDirectory(tmp_path / "run" / "demo")
    with subprocess.Popen(
        [TWOTOWER, "demo", "--reviews", str(reviews)], cwd=tmp_path, stdout=subprocess.DEVNULL
    ) as demo:
        services: tuple[ProcessId, ...] = ()
        while len(services) < 2:
            assert demo.poll() is None
            time.sleep(0.05)
            session = directory.session()
            services = session.services if session else ()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 1
    assert not any(service.alive for service in services)
    assert directory.session() is None


def test_a_bad_review_file_is_the_trainers_message_and_an_exit_code(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    done = run(tmp_path, "demo", "--reviews", str(bad))
    assert done.returncode == 1
    assert "reviews.rating" in done.stderr
    assert done.stderr.endswith("Error: `python -m trainer train` ended with exit code 1\n")
    assert RunDirectory(tmp_path / "run" / "demo").session() is None
