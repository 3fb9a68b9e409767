"""The Locust file runs, measures every kind of call, and counts errors as errors."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.memory_api import MemoryServer, memory_server, planned
from tests.support.tokens import Signer, write_keys
from twotower.errors import Overloaded, StoreUnavailable
from twotower.identity import Identities, Tokens
from twotower.rpc import ServerTls

Load = Callable[..., subprocess.CompletedProcess[str]]
LOCUSTFILE = Path(__file__).parents[3] / "clients" / "loadtest" / "locustfile.py"


@pytest.fixture
def load(server: MemoryServer, tmp_path: Path) -> Load:
    """Run four seconds of load."""
    users = tmp_path / "users.txt"
    users.write_text("Ann\nBo\n")

    def run(host: str = server.address, *more: str) -> subprocess.CompletedProcess[str]:
        ours = host == server.address
        embedding, admin = (server.address, server.admin_address) if ours else (host, host)
        options = [
            "--headless",
            "--json",
            "-u",
            "4",
            "-r",
            "4",
            "-t",
            "4s",
            "--host",
            host,
            "--embedding",
            embedding,
            "--admin-embedding",
            admin,
            *more,
        ]
        shares = [
            "--batch-size",
            "3",
            "--batch-share",
            "0.3",
            "--review-share",
            "0.3",
            "--top-k",
            "2",
            "--user-ids",
            str(users),
        ]
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *shares, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)

    return run


def test_every_kind_of_call_is_measured(load: Load, server: MemoryServer) -> None:
    done = load()
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows.keys() == {"Recommend", "BatchRecommend(3)", "RecordReview"}
    for name, row in rows.items():
        assert row["num_failures"] == 0
        # Calls that the end of the run cut off arrived and were not counted.
        assert 0 < row["num_requests"] <= server.memory.attempts[name.partition("(")[0]]


def test_the_load_test_reviews_no_real_product_and_forgets_its_users(load: Load, server: MemoryServer) -> None:
    real = {product.product_id for product in server.memory.products}
    done = load(server.address, "--review-share", "1")
    assert done.returncode == 0, done.stderr
    written = server.memory.attempts["RecordReview"]
    assert written > 0
    assert len(server.memory.recorded) == written
    assert not {review.product_id for review in server.memory.recorded} & real
    assert all(review.user_id.startswith("loadtest-") for review in server.memory.recorded)
    assert server.memory.reviews == {}
    assert re.search(r"deleted the [\d,]+ users loadtest-\w+-… of this load test, with their reviews", done.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_also_when_it_is_interrupted(server: MemoryServer, tmp_path: Path, number: signal.Signals) -> None:
    users = tmp_path / "users.txt"
    users.write_text("Ann\n")
    addresses = ["--embedding", server.address, "--admin-embedding", server.admin_address]
    services = ["--host", server.address, *addresses]
    options = ["--headless", "-u", "4", "-r", "4", "--user-ids", str(users), "--review-share", "0.5", *services]
    with subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as running:
        while server.memory.attempts["RecordReview"] < 20:
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(number)
        assert running.stderr
        said = running.stderr.read()
        running.wait(60)
    assert server.memory.reviews == {}
    assert "of this load test, with their reviews" in said


def test_users_that_cannot_be_deleted_are_named(load: Load, server: MemoryServer) -> None:
    planned(server, "DeleteUser", *[StoreUnavailable("Redis is away")] * 1000)
    done = load(server.address, "--review-share", "1")
    assert re.search(
        r"users of this load test are left, among loadtest-\w+-0 to -999: `twotower user delete` them", done.stderr
    )
    assert "Redis is away" in done.stderr


def test_refused_calls_are_failures(load: Load, server: MemoryServer) -> None:
    planned(server, "Recommend", *[Overloaded("the queue is full", 1.0)] * 3)
    done = load()
    assert done.returncode == 1
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["Recommend"]["num_failures"] == 3
    assert rows["RecordReview"]["num_failures"] == 0


def test_no_server_ends_at_once(load: Load, unused_tcp_port: int) -> None:
    # Long enough for the first call to fail on a busy machine; a run that is over before that counts no failure.
    done = load(f"127.0.0.1:{unused_tcp_port}", "-t", "60s")
    assert done.returncode == 1
    assert f"no answer: ranking service at 127.0.0.1:{unused_tcp_port}" in done.stderr


def test_certificates_and_a_token(load: Load, server: MemoryServer, tmp_path: Path) -> None:
    authority, signer = Authority(tmp_path), Signer()
    own, client = authority.issue("server"), authority.issue("client")
    assert own.certificate
    assert own.key
    tls = ServerTls(own.certificate, own.key, client_ca=authority.path)
    identities = Identities(Tokens(write_keys(tmp_path / "keys.json", signer), "twotower"), None)
    (tmp_path / "token").write_text(signer.token("operator"))
    flags = ["--tls-ca", client.ca, "--client-certificate", client.certificate, "--client-key", client.key]
    with memory_server(tls=tls, authenticator=identities) as secured:
        where = ["--embedding", secured.address, "--admin-embedding", secured.admin_address]
        done = load(secured.address, *where, *map(str, flags), "--token-file", str(tmp_path / "token"))
        assert done.returncode == 0, done.stderr
        assert secured.memory.attempts["Recommend"] > 0
        assert secured.memory.attempts["RecordReview"] > 0
        assert secured.memory.reviews == {}, "the users of the test were deleted, at the listener of operators"
        refused = load(secured.address, *where, *map(str, flags))
        assert refused.returncode == 1
        assert "say who calls by --token-file" in refused.stderr


def test_users_that_cannot_be_read_are_a_usage_error(load: Load, tmp_path: Path) -> None:
    (tmp_path / "users.txt").unlink()
    done = load()
    assert done.returncode == 2
    assert "argument --user-ids" in done.stderr
    assert "users.txt" in done.stderr
