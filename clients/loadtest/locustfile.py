"""Shoppers who ask for recommendations as fast as they are answered, and now and then review something.

Run by Locust, which patches the process for gevent before it reads this file::

    locust -f clients/loadtest/locustfile.py --headless -u 32 -t 60s --host 127.0.0.1:50052 --user-ids RELEASE_DIR
"""

import logging
import random
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc.experimental.gevent
from locust import User, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser

from clients.addresses import DEFAULT_EMBEDDING, DEFAULT_RANKING
from clients.errors import TwotowerError
from clients.loadtest.user_ids import read_user_ids
from clients.recommender import TwotowerClient
from twotower.rpc import ChannelTls

# Before the first channel: gRPC then yields to the other greenlets while it waits.
grpc.experimental.gevent.init_gevent()

_LOG = logging.getLogger(__name__)
REVIEWERS: Final = 1000
"""Reviews are recorded for names of the load test's own, so that no real user's features change."""


def add_options(parser: LocustArgumentParser) -> None:
    """Add options to Locust's own; each is an environment variable too (``LOCUST_BATCH_SIZE``)."""
    parser.add_argument(
        "--user-ids",
        required=True,
        type=_user_ids,
        env_var="LOCUST_USER_IDS",
        help="file with one user id per line, or a release directory",
    )
    parser.add_argument(
        "--embedding", default=DEFAULT_EMBEDDING, env_var="TWOTOWER_EMBEDDING", help="host:port, where reviews go"
    )
    parser.add_argument(
        "--tls-ca",
        type=Path,
        env_var="TWOTOWER_TLS_CA",
        help="PEM file of the services' certificate authority; plaintext if not given",
    )
    for name, default, text in (
        ("top-k", 10, "products wanted"),
        ("batch-size", 128, "users per BatchRecommend"),
        ("batch-share", 0.02, "share of calls that are BatchRecommend"),
        ("review-share", 0.02, "share of calls that are RecordReview"),
    ):
        variable = f"LOCUST_{name.upper().replace('-', '_')}"
        parser.add_argument(f"--{name}", type=type(default), default=default, env_var=variable, help=text)


def read_users(environment: Environment, **_: Any) -> None:
    """Read the user ids once per process."""
    if environment.parsed_options:
        Shopper.user_ids = read_user_ids(Path(environment.parsed_options.user_ids))


def _user_ids(path: str) -> str:
    """Refuse on the command line what could not be read later."""
    try:
        read_user_ids(Path(path))
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(error) from error
    return path


events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(read_users)


class Shopper(User):
    """One caller that always has one call in flight."""

    wait_time = constant(0)
    user_ids: list[str]

    def on_start(self) -> None:
        """Connect; gRPC lets the shoppers of a process share one connection."""
        options = self.environment.parsed_options
        self._options = options
        tls = ChannelTls(options.tls_ca) if options.tls_ca else None
        self._client = TwotowerClient(ranking=self.host or DEFAULT_RANKING, embedding=options.embedding, tls=tls)
        try:
            self._product_ids = [product.product_id for product in self._client.list_products(1000).products]
        except TwotowerError as error:
            _LOG.error("no catalogue: %s", error)
            self.environment.process_exit_code = 1
            if self.environment.runner:
                self.environment.runner.quit()
            raise StopUser from error

    def on_stop(self) -> None:
        """Disconnect."""
        self._client.close()

    @task
    def call(self) -> None:
        """Make one call, of a kind drawn by the shares."""
        draw = random.random()
        if draw < self._options.review_share:
            self._record_review()
        elif draw < self._options.review_share + self._options.batch_share:
            users = random.choices(self.user_ids, k=self._options.batch_size)
            self._measure(
                f"BatchRecommend({self._options.batch_size})",
                lambda: self._client.batch_recommend(users, self._options.top_k),
            )
        else:
            user = random.choice(self.user_ids)
            self._measure("Recommend", lambda: self._client.recommend(user, self._options.top_k))

    def _record_review(self) -> None:
        reviewer, product_id = f"loadtest-{random.randrange(REVIEWERS)}", random.choice(self._product_ids)
        stars, numbers = random.randint(1, 5), random.sample(range(10_000), 12)
        # Every text is new, so that none is in a cache.
        text = f"Bought for the load test, numbers {' '.join(map(str, numbers))}."
        self._measure("RecordReview", lambda: self._client.record_review(reviewer, product_id, stars, text=text))

    def _measure(self, name: str, send: Callable[[], object]) -> None:
        start = time.perf_counter()
        failure: TwotowerError | None = None
        try:
            send()
        except TwotowerError as error:
            failure = error
        elapsed_ms = (time.perf_counter() - start) * 1000
        self.environment.events.request.fire(
            request_type="gRPC", name=name, response_time=elapsed_ms, response_length=0, exception=failure, context={}
        )
