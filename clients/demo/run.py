"""One run of the demo, step by step."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from rich.console import Console

from clients import tables
from clients.demo.processes import ProcessFailed, ProcessId, Services, describe_exit, run_module
from clients.demo.session import RunDirectory, Session
from clients.demo.story import TimedAnswer, tell
from clients.demo.users import DemoUsers, choose_users
from clients.errors import DeadlineExceeded, TwotowerError
from clients.recommender import TwotowerClient
from twotower.addresses import DEFAULT_EMBEDDING, DEFAULT_RANKING
from twotower.release import Release, list_releases
from twotower.terminal import Heading

SAMPLE_REVIEWS: Final = 6000
SAMPLE_SEED: Final = 7
PRESET: Final = "v5_power"
_START_WITHIN_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.5


@dataclass
class Demo:
    """One run of the demo.

    Attributes:
        directory: where it works.
        out: the terminal.
        reviews: review file; synthetic ones are made if None.
        keep_up: leave the services running.
        to_stderr: what the trainer says goes to standard error, as what `out` shows.
        seconds: step → how long it took.
        answers: what the services answered.
    """

    directory: RunDirectory
    out: Console
    reviews: Path | None
    keep_up: bool
    to_stderr: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    answers: dict[str, TimedAnswer] = field(default_factory=dict)

    def run(self) -> Session | None:
        """Go from the review file to the last table.

        Returns:
            The session of the services if they were left running.

        Raises:
            ProcessFailed: a part ended too early, or not as it should.
            TwotowerError: a call failed.
        """
        self.directory.clear()
        ranking, embedding = _addresses(self.keep_up)
        session = Session(ProcessId.of("demo", os.getpid()), (), ranking, embedding)
        left_running = None
        self.directory.save(session)
        try:
            with Services(lambda ids: self.directory.save(replace(session, services=ids))) as services:
                users = self._perform(services, ranking, embedding)
                if self.keep_up:
                    left_running = Session(
                        None, services.keep(), ranking, embedding, users.warm, users.product.product_id
                    )
                    self.directory.save(left_running)
                else:
                    self._stop(services)
        finally:
            if left_running is None:
                self.directory.forget_session()
        self._print_times()
        return left_running

    def _perform(self, services: Services, ranking: str, embedding: str) -> DemoUsers:
        release = self._train()
        users = choose_users(release)
        try:
            self._serve(services, release, ranking, embedding)
            with self._step("Recommend"), _client(ranking, embedding) as client:
                self.answers = tell(client, users, self.out)
        except TwotowerError:
            services.check()  # a service that ended is the cause, and its log says why
            raise
        return users

    def _train(self) -> Release:
        reviews = self.reviews
        if reviews is None:
            reviews = self.directory.sample
            with self._step(f"Make {SAMPLE_REVIEWS:,} synthetic reviews"):
                self._run_trainer("sample-data", reviews, "--reviews", SAMPLE_REVIEWS, "--seed", SAMPLE_SEED)
        with self._step(f"Train {PRESET} on {reviews}"):
            self._run_trainer("train", "--reviews", reviews, "--preset", PRESET, "--out", self.directory.releases)
        (manifest,) = list_releases(self.directory.releases)
        return Release.open(self.directory.releases / manifest.release_id)

    def _serve(self, services: Services, release: Release, ranking: str, embedding: str) -> None:
        releases, log = str(self.directory.releases), self.directory.log
        with (
            self._step("Start Redis, the embedding service and the ranking service"),
            _client(ranking, embedding) as client,
        ):
            store = ["--store", "embedded", "--data-dir", str(self.directory.data)]
            command = ["embedding_service", "--listen", embedding, "--releases", releases, *store]
            services.start("embedding service", command, log("embedding service"))
            command = ["ranking_service", "--listen", ranking, "--releases", releases, "--embedding", embedding]
            services.start("ranking service", command, log("ranking service"))
            _wait(services, client.wait_until_answering)
            self.out.print(
                f"embedding service on {embedding}, ranking service on {ranking}; logs in {self.directory.logs}"
            )
        with self._step(f"Publish {release.release_id}"), _client(ranking, embedding) as client:
            self._run_trainer("publish", release.path, "--embedding", embedding, "--ranking", ranking)
            _wait(services, client.wait_until_serving)

    def _stop(self, services: Services) -> None:
        with self._step("Stop"):
            codes = services.stop()
            for name, code in codes.items():
                self.out.print(f"{name}: {describe_exit(code)}")
        if failed := [name for name, code in codes.items() if code]:
            raise ProcessFailed(f"the {failed[0]} did not stop cleanly (log: {self.directory.log(failed[0])})")

    def _run_trainer(self, *arguments: object) -> None:
        run_module("trainer", *arguments, to_stderr=self.to_stderr)

    @contextlib.contextmanager
    def _step(self, title: str) -> Iterator[None]:
        self.out.print(Heading(title))
        start = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - start

    def _print_times(self) -> None:
        self.out.print(Heading("Times"))
        rows = {**self.seconds, "Total": sum(self.seconds.values())}
        self.out.print(tables.fields_table({title: f"{seconds:.1f} s" for title, seconds in rows.items()}))


def _client(ranking: str, embedding: str) -> TwotowerClient:
    """A client of the demo's own services, whatever the variables say of others."""
    return TwotowerClient(ranking, embedding, tls=False, http_proxy=False)


def _wait(services: Services, wait: Callable[[float], None]) -> None:
    """Wait in short turns, so that a service that ends is noticed soon."""
    deadline = time.monotonic() + _START_WITHIN_S
    while True:
        services.check()
        try:
            wait(_LOOK_EVERY_S)
        except DeadlineExceeded as error:
            if time.monotonic() >= deadline:
                raise ProcessFailed(f"not ready after {_START_WITHIN_S:g} s: {error}") from error
        else:
            return


def _addresses(keep_up: bool) -> tuple[str, str]:
    """Addresses of ranking and embedding.

    They are the default ones if the services stay up and both are free, so that commands find them; else any free ones.
    """
    if keep_up and all(_is_free(address) for address in (DEFAULT_RANKING, DEFAULT_EMBEDDING)):
        return DEFAULT_RANKING, DEFAULT_EMBEDDING
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return f"127.0.0.1:{first.getsockname()[1]}", f"127.0.0.1:{second.getsockname()[1]}"


def _is_free(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError:
        return False
    return True
