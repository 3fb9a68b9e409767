"""The demo's processes are watched, stopped whatever happens, and never mistaken for others."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clients.demo.processes import (
    ProcessFailed,
    ProcessId,
    Service,
    Services,
    describe_exit,
    exit_on_signals,
    run_module,
)
from clients.demo.session import RunDirectory, Session

MODULES = {
    "obedient": (
        "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(0))\nprint('ready', flush=True)\nsignal.pause()"
    ),
    "stubborn": "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\nsignal.pause()",
    "dying": "import sys\nprint('the disk is full')\nsys.exit(3)",
    "fine": "",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the modules above."""
    for name, source in MODULES.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def until_ready(service: Service) -> Service:
    while "ready" not in service.tail():
        service.check()
        time.sleep(0.01)
    return service


def gone(process: ProcessId) -> bool:
    return not process.alive


def test_services_stop_in_reverse_order_with_their_exit_codes(folder: Path) -> None:
    started: list[tuple[ProcessId, ...]] = []
    with Services(started.append) as services:
        first = until_ready(services.start("first", ["obedient"], folder / "first.log"))
        second = until_ready(services.start("second", ["obedient"], folder / "second.log"))
        assert first.id.alive
        assert services.stop() == {"second": 0, "first": 0}
    assert [len(ids) for ids in started] == [1, 2]
    assert gone(first.id)
    assert gone(second.id)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_nothing_is_left_after_an_error(folder: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), Services(lambda _: None) as services:
        service = services.start("service", ["obedient"], folder / "log")
        raise error
    assert gone(service.id)


def test_kept_services_stay(folder: Path) -> None:
    with Services(lambda _: None) as services:
        service = until_ready(services.start("service", ["obedient"], folder / "log"))
        (kept,) = services.keep()
    assert kept == service.id
    assert kept.alive
    kept.stop()
    assert gone(kept)
    assert service.stop() == 0


def test_a_service_that_does_not_stop_is_killed(folder: Path) -> None:
    service = until_ready(Service("service", ["stubborn"], folder / "log"))
    assert service.stop(within_s=0.1) == -signal.SIGKILL
    other = until_ready(Service("service", ["stubborn"], folder / "log"))
    other.id.stop(within_s=0.1)
    assert other.stop() == -signal.SIGKILL


def test_a_service_that_ends_is_noticed_with_its_last_words(folder: Path) -> None:
    with Services(lambda _: None) as services:
        service = services.start("scorer", ["dying"], folder / "log")
        while service.id.alive:
            time.sleep(0.01)
        with pytest.raises(ProcessFailed, match="the scorer ended with exit code 3") as caught:
            services.check()
    assert caught.value.tail == "the disk is full"


def test_a_step_that_fails_is_named(folder: Path) -> None:
    run_module("fine")
    with pytest.raises(ProcessFailed, match="`python -m dying now` ended with exit code 3"):
        run_module("dying", "now")


def test_a_number_taken_by_another_process_is_not_the_process() -> None:
    own = ProcessId.of("self", os.getpid())
    assert own.alive
    assert not ProcessId("self", own.pid, own.started + 1).alive
    assert not ProcessId("never", 2**22 + 1, 0).alive


def test_sigterm_leaves_as_ctrl_c_does() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, exit_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_session_is_read_back(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert directory.session() is None
    session = Session(None, (ProcessId("a", 1, 2), ProcessId("b", 3, 4)), "r:1", "e:2", "Ann", "p1")
    directory.save(session)
    assert directory.session() == session
    directory.forget_session()
    assert directory.session() is None


def test_services_of_a_killed_demo_are_orphans_and_can_be_stopped(folder: Path) -> None:
    service = until_ready(Service("service", ["obedient"], folder / "log"))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        owner = ProcessId.of("demo", ended.pid)
    session = Session(owner, (service.id,), "r:1", "e:2")
    assert (session.orphaned, session.left_running, session.alive) == (True, False, True)
    session.stop()
    assert not session.alive
    assert service.stop() == 0


def test_a_new_run_starts_from_nothing(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.clear()
    (directory.data / "appendonly.aof").write_text("old")
    (tmp_path / "mine.txt").write_text("kept")
    directory.clear()
    assert list(directory.data.iterdir()) == []
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_a_signal_is_named() -> None:
    assert [describe_exit(code) for code in (0, 3, -9)] == ["exit code 0", "exit code 3", "SIGKILL"]
