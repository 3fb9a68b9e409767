"""Shoppers who ask for recommendations as fast as they are answered, and now and then review something.

Run by Locust, which patches the process for gevent before it reads this file::

    locust -f clients/loadtest/locustfile.py --headless -u 32 -t 60s
"""

import logging
import random
import socket
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

from clients.demo.session import RUN_DIRECTORY
from clients.errors import TwotowerError
from clients.loadtest.reviewers import Reviewers
from clients.loadtest.targets import admin_embedding, newest_release, read_user_ids, services
from clients.recommender import TwotowerClient
from twotower.addresses import channel_tls_of
from twotower.environment import TLS_CA, TLS_CERTIFICATE, TLS_KEY, TOKEN_FILE

# Before the first channel: gRPC then yields to the other greenlets while it waits.
grpc.experimental.gevent.init_gevent()

_LOG = logging.getLogger(__name__)
_WEB_PORT: Final = 8089
_LAST_CALLS_S: Final = 10.0


def add_options(parser: LocustArgumentParser) -> None:
    """Add options to Locust's own; each is an environment variable too (``LOCUST_BATCH_SIZE``)."""
    parser.add_argument(
        "--user-ids",
        type=_user_ids,
        env_var="LOCUST_USER_IDS",
        help="file with one user id per line, or a release directory; the newest release of `make up` or of "
        "run/releases if not given",
    )
    parser.add_argument(
        "--embedding",
        help="host:port of the embedding service, where reviews go; as --host, that of `make up` if not given  "
        "[env var: TWOTOWER_EMBEDDING]",
    )
    parser.add_argument(
        "--admin-embedding",
        help="host:port of the embedding service's administrative listener, where the users of the test are deleted; "
        "that of `make up` if not given  [env var: TWOTOWER_ADMIN_EMBEDDING]",
    )
    parser.add_argument("--tls", action="store_true", help="connect to the services by TLS  [env var: TWOTOWER_TLS]")
    for name, variable, text in (  # --tls-key is Locust's own, for its page
        ("tls-ca", TLS_CA, "PEM file of the services' certificate authority"),
        ("client-certificate", TLS_CERTIFICATE, "PEM file of the client's certificate, if it is asked for one"),
        ("client-key", TLS_KEY, "PEM file of the private key of that certificate"),
        ("token-file", TOKEN_FILE, "file of an operator's token (a JWT), who alone may delete the users of the test"),
    ):
        parser.add_argument(f"--{name}", type=Path, help=f"{text}  [env var: {variable}]")
    for name, default, text in (
        ("top-k", 10, "products wanted"),
        ("batch-size", 128, "users per BatchRecommend"),
        ("batch-share", 0.02, "share of calls that are BatchRecommend"),
        ("review-share", 0.02, "share of calls that are RecordReview"),
    ):
        variable = f"LOCUST_{name.upper().replace('-', '_')}"
        parser.add_argument(f"--{name}", type=type(default), default=default, env_var=variable, help=text)
    parser.set_defaults(web_port=_free_port(_WEB_PORT))


def _free_port(wanted: int) -> int:
    """The port wanted, or any other if it is taken."""
    for port in (wanted, 0):
        try:
            with socket.create_server(("", port)) as taken:
                return int(taken.getsockname()[1])
        except OSError:
            continue
    return wanted


def prepare(environment: Environment, **_: Any) -> None:
    """Find the services and read the user ids, once per process; a problem ends the run before it begins."""
    options = environment.parsed_options
    if not options:
        return
    # The last calls may end, so that nothing is written after the writers were forgotten.
    environment.stop_timeout = max(environment.stop_timeout, _LAST_CALLS_S)
    path = options.user_ids or newest_release(RUN_DIRECTORY)
    if path is None:
        raise SystemExit("--user-ids: name a file or a release directory; there is no release in run/releases")
    try:
        Shopper.user_ids = read_user_ids(Path(path))
        Shopper.addresses = services(environment.host, options.embedding, RUN_DIRECTORY)
        Shopper.admin_embedding = admin_embedding(options.admin_embedding, RUN_DIRECTORY)
        connect(options).close()
    except (OSError, ValueError, TwotowerError) as error:
        raise SystemExit(str(error)) from error
    environment.host = Shopper.addresses[0]  # what Locust's page and its statistics show
    _LOG.info("ranking service %s, embedding service %s, users of %s", *Shopper.addresses, path)


def connect(options: Any) -> TwotowerClient:
    """Connect; gRPC lets the shoppers of a process share one connection."""
    tls = channel_tls_of(options.tls_ca, options.client_certificate, options.client_key, wanted=options.tls)
    return TwotowerClient(
        *Shopper.addresses,
        admin_embedding=Shopper.admin_embedding,
        tls=tls or False,
        token_file=options.token_file,
    )


def forget_reviewers(environment: Environment, **_: Any) -> None:
    """Delete the users who wrote reviews, however the test ended, and say so."""
    if environment.parsed_options:
        with connect(environment.parsed_options) as client:
            if done := Shopper.reviewers.forget(client):
                _LOG.info(done)


def _user_ids(path: str) -> str:
    """Refuse on the command line what could not be read later."""
    try:
        read_user_ids(Path(path))
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(error) from error
    return path


events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(prepare)
events.test_stop.add_listener(forget_reviewers)


class Shopper(User):
    """One caller that always has one call in flight."""

    wait_time = constant(0)
    user_ids: list[str]
    addresses: tuple[str, str]
    admin_embedding: str
    reviewers = Reviewers()

    def on_start(self) -> None:
        """Connect, and ask for something small: without a server the run ends at once."""
        self._options = self.environment.parsed_options
        self._client = connect(self._options)
        try:
            self._client.list_products(1)
        except TwotowerError as error:
            _LOG.error("no answer: %s", error)
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
            self._measure("RecordReview", lambda: self.reviewers.review(self._client))
        elif draw < self._options.review_share + self._options.batch_share:
            users = random.choices(self.user_ids, k=self._options.batch_size)
            self._measure(
                f"BatchRecommend({self._options.batch_size})",
                lambda: self._client.batch_recommend(users, self._options.top_k),
            )
        else:
            user = random.choice(self.user_ids)
            self._measure("Recommend", lambda: self._client.recommend(user, self._options.top_k))

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
