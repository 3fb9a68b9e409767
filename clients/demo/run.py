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
from twotower.addresses import (
    DEFAULT_ADMIN_EMBEDDING,
    DEFAULT_ADMIN_RANKING,
    DEFAULT_EMBEDDING,
    DEFAULT_RANKING,
)
from twotower.release import Release, list_releases
from twotower.terminal import Heading

SAMPLE_REVIEWS: Final = 6000
SAMPLE_SEED: Final = 7
PRESET: Final = "v5_power"
_DEFAULTS: Final = {
    "ranking": DEFAULT_RANKING,
    "embedding": DEFAULT_EMBEDDING,
    "admin_ranking": DEFAULT_ADMIN_RANKING,
    "admin_embedding": DEFAULT_ADMIN_EMBEDDING,
}
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
        session = Session(ProcessId.of("demo", os.getpid()), (), **_addresses(keep_up=self.keep_up))
        left_running = None
        self.directory.save(session)
        try:
            with Services(lambda ids: self.directory.save(replace(session, services=ids))) as services:
                users = self._perform(services, session)
                if self.keep_up:
                    left_running = replace(
                        session,
                        owner=None,
                        services=services.keep(),
                        user_id=users.warm,
                        product_id=users.product.product_id,
                    )
                    self.directory.save(left_running)
                else:
                    self._stop(services)
        finally:
            if left_running is None:
                self.directory.forget_session()
        self._print_times()
        return left_running

    def _perform(self, services: Services, at: Session) -> DemoUsers:
        release = self._train()
        users = choose_users(release)
        try:
            self._serve(services, release, at)
            with self._step("Recommend"), _client(at) as client:
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

    def _serve(self, services: Services, release: Release, at: Session) -> None:
        releases, log = str(self.directory.releases), self.directory.log
        with (
            self._step("Start Redis, the embedding service and the ranking service"),
            _client(at) as client,
        ):
            store = ["--store", "embedded", "--data-dir", str(self.directory.data)]
            listen = ["--listen", at.embedding, "--admin-listen", at.admin_embedding]
            services.start(
                "embedding service",
                ["embedding_service", *listen, "--releases", releases, *store],
                log("embedding service"),
            )
            listen = ["--listen", at.ranking, "--admin-listen", at.admin_ranking]
            upstream = ["--embedding", at.embedding, "--embedding-admin", at.admin_embedding]
            services.start(
                "ranking service",
                ["ranking_service", *listen, "--releases", releases, *upstream],
                log("ranking service"),
            )
            _wait(services, client.wait_until_answering)
            self.out.print(
                f"embedding service on {at.embedding}, ranking service on {at.ranking}; logs in {self.directory.logs}"
            )
        with self._step(f"Publish {release.release_id}"), _client(at) as client:
            self._run_trainer(
                "publish",
                release.path,
                "--admin-embedding",
                at.admin_embedding,
                "--admin-ranking",
                at.admin_ranking,
            )
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


def _client(at: Session) -> TwotowerClient:
    """A client of the demo's own services, whatever the variables say of others."""
    return TwotowerClient(
        at.ranking,
        at.embedding,
        admin_ranking=at.admin_ranking,
        admin_embedding=at.admin_embedding,
        tls=False,
        token_file=False,
        http_proxy=False,
    )


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


def _addresses(*, keep_up: bool) -> dict[str, str]:
    """Addresses of both services by the names of the session's fields.

    They are the default ones if the services stay up and all are free, so that commands find them; else any free ones.
    """
    if keep_up and all(map(_is_free, _DEFAULTS.values())):
        return _DEFAULTS
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in _DEFAULTS]
        return {name: f"127.0.0.1:{each.getsockname()[1]}" for name, each in zip(_DEFAULTS, held, strict=True)}


def _is_free(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError:
        return False
    return True
