"""The parent of the workers, without processes: what it does when one ends at a bad moment."""

import os
import signal
from dataclasses import dataclass, field

from ranking_service.settings import RankingSettings
from ranking_service.workers import Workers


@dataclass
class Ending:
    """A process whose end shows at the last of these questions."""

    answers: list[int | None]
    pid: int = 1
    sentinel: int = field(init=False)

    def __post_init__(self) -> None:
        self.sentinel, other = os.pipe()
        os.close(other)  # so it can be read at once, as a process that has just ended can

    @property
    def exitcode(self) -> int | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def terminate(self) -> None:
        self.answers = [0]


def test_a_worker_that_ends_between_two_questions_is_replaced() -> None:
    """Its descriptor may be closed a moment before its exit code is there."""
    for unknown in range(6):
        started: list[Ending] = []

        class Parent(Workers):
            def _start(self, unknown: int = unknown, started: list[Ending] = started) -> Ending:  # type: ignore[override]
                started.append(Ending([None] * unknown + [-9]) if not started else Ending([None]))
                if len(started) == 2:
                    self._processes.append(started[1])  # type: ignore[arg-type]
                    self._stop(signal.SIGTERM, None)
                    self._processes.pop()
                return started[-1]

        handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        try:
            assert (
                Parent(
                    RankingSettings.model_validate({"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}),
                    lambda *_: None,
                ).run()
                == 0
            )
        finally:
            for number, handler in zip((signal.SIGTERM, signal.SIGINT), handlers, strict=True):
                signal.signal(number, handler)
        assert len(started) == 2
