"""Publishing, loading and rolling back over real services, also when one of them is killed in the middle."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from clients import TwotowerClient
from clients.errors import PreconditionFailed
from clients.results import ReleaseInfo, ReleaseLabel, SpaceState
from tests.support.channels import client_of
from tests.support.importing import import_requests, space_of
from tests.support.processes import Service, running
from tests.support.releases import product_id, write_random_release
from trainer.release.publish import PublishFailed, publish
from twotower.release import Release
from twotower.rpc import open_channel
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

_WAIT_S = 60.0


@dataclass
class Shop:
    """Both services, their releases, and a client."""

    embedding: Service
    ranking: Service
    releases: list[Release]
    client: TwotowerClient

    def publish(self, number: int) -> None:
        """Publish a release."""
        publish(self.releases[number], self.embedding.admin_address, self.ranking.admin_address)

    def info(self, number: int) -> ReleaseInfo:
        """What the services say of a release."""
        release_id = self.releases[number].release_id
        return next(info for info in self.client.list_releases() if info.release_id == release_id)

    def answers_with(self, number: int) -> bool:
        """Whether the known user is answered by this release, with its own features."""
        answer = self.client.recommend("ann", 3)
        return answer.release_id == self.releases[number].release_id and not answer.user.degraded

    def damage(self, number: int) -> None:
        """Make ranking refuse a release that the embedding service takes."""
        file = self.releases[number].path / "product_fusion.npy"
        file.write_bytes(file.read_bytes()[:-1] + b"\7")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Four releases of spaces of their own, the first published, and a user with a review."""
    folder = tmp_path / "releases"
    releases = [write_random_release(folder, products=30, seed=seed) for seed in range(4)]
    embedding = Service(
        "tests.support.hash_service", tmp_path / "embedding.log", "--releases", folder, "--data-dir", tmp_path / "data"
    )
    ranking = Service(
        "ranking_service", tmp_path / "ranking.log", "--releases", folder, "--embedding", embedding.address,
        "--embedding-admin", embedding.admin_address, "--lookup-timeout-ms", 5000,
    )  # fmt: skip
    with running(embedding, ranking), client_of(ranking, embedding) as client:
        client.wait_until_answering(_WAIT_S)
        shop = Shop(embedding, ranking, releases, client)
        shop.publish(0)
        client.record_review("ann", product_id(1), 5, text="fine")
        yield shop


def until(happens: Callable[[], bool]) -> None:
    """Wait until something happens."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        with contextlib.suppress(Exception):
            if happens():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_older_release_is_brought_back_in_both_services(shop: Shop) -> None:
    shop.publish(1)
    shop.publish(2)
    assert (shop.info(2).label, shop.info(2).space_state) == (ReleaseLabel.STABLE, SpaceState.ACTIVE)
    assert (shop.info(1).previous, shop.info(1).space_state) == (True, SpaceState.PREVIOUS)
    assert (shop.info(0).space_state, shop.info(0).space_loaded) == (SpaceState.UNSPECIFIED, False)

    loaded = shop.client.load_release(shop.releases[0].release_id)  # its space was dropped by the last publish
    assert (loaded.label, loaded.space_state) == (ReleaseLabel.STABLE, SpaceState.ACTIVE)
    assert shop.answers_with(0)
    assert (shop.info(2).previous, shop.info(2).space_state) == (True, SpaceState.PREVIOUS)

    assert shop.client.rollback().space_state is SpaceState.ACTIVE
    assert shop.answers_with(2)
    shop.client.set_label(shop.releases[1].release_id, ReleaseLabel.CANARY, canary_share=1.0)
    assert shop.info(1).space_state is SpaceState.PREPARED
    assert shop.answers_with(1)


def test_a_release_that_the_embedding_service_lacks_is_refused_with_what_to_do(shop: Shop, tmp_path: Path) -> None:
    shop.embedding.stop()
    elsewhere = tmp_path / "elsewhere"
    write_random_release(elsewhere, products=30, seed=0)
    moved = Service(
        "tests.support.hash_service", tmp_path / "moved.log", "--releases", elsewhere, "--data-dir", tmp_path / "data",
        port=shop.embedding.port, admin_port=shop.embedding.admin_port,
    )  # fmt: skip
    with running(moved):
        moved.wait_until("SERVING")
        until(lambda: shop.answers_with(0))
        release_id = shop.releases[1].release_id
        with pytest.raises(PreconditionFailed, match=f"twotower publish {release_id}"):
            shop.client.load_release(release_id)
        with pytest.raises(PreconditionFailed, match=f"twotower publish {release_id}"):
            shop.client.set_label(release_id, ReleaseLabel.CANARY, canary_share=0.5)
        assert shop.answers_with(0)


def test_publishes_that_ranking_refuses_change_nothing(shop: Shop) -> None:
    for number in (1, 2):
        release = shop.releases[number]
        with open_channel(shop.embedding.admin_address) as channel:  # which then has it, and does not open it again
            space = space_of(release)
            EmbeddingServiceStub(channel).PrepareSpace(
                pb.PrepareSpaceRequest(release_id=release.release_id, space=space)
            )
        shop.damage(number)
        with pytest.raises(PublishFailed, match=r"ranking service at .*product_fusion\.npy"):
            publish(release, shop.embedding.admin_address, shop.ranking.admin_address)
        assert shop.answers_with(0)
        assert shop.info(0).space_state is SpaceState.ACTIVE


@pytest.mark.parametrize("killed", ["embedding", "ranking"])
def test_a_service_that_is_killed_during_a_publish(shop: Shop, killed: str) -> None:
    victim: Service = getattr(shop, killed)
    for delay_s in (0.05, 0.3, 0.8):
        failures: list[Exception] = []

        def attempt(failures: list[Exception] = failures) -> None:
            try:
                shop.publish(1)
            except (PublishFailed, grpc.RpcError) as error:
                failures.append(error)

        thread = threading.Thread(target=attempt)
        thread.start()
        time.sleep(delay_s)
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()
        victim.start()
        thread.join()
        until(lambda: shop.answers_with(0) or shop.answers_with(1))
        stable = [info for info in shop.client.list_releases() if info.label is ReleaseLabel.STABLE]
        assert [info.space_loaded for info in stable] == [True]
    until(lambda: _published(shop))
    assert shop.answers_with(1)
    assert shop.info(1).space_state is SpaceState.ACTIVE


def test_publishers_that_are_killed_or_come_at_once_leave_everything_serving(shop: Shop) -> None:
    ids = [release.release_id for release in shop.releases]
    for delay_s in (1.5, 2.0, 2.5):
        process = publisher(shop, 1)
        time.sleep(delay_s)
        process.kill()
        process.wait()
        until(lambda: shop.answers_with(0) or shop.answers_with(1))
    together = [publisher(shop, number) for number in (1, 2)]
    codes = [process.wait(_WAIT_S) for process in together]
    assert 0 in codes
    [stable] = [info for info in shop.client.list_releases() if info.label is ReleaseLabel.STABLE]
    assert stable.space_state is SpaceState.ACTIVE
    until(lambda: shop.answers_with(ids.index(stable.release_id)))


def publisher(shop: Shop, number: int) -> "subprocess.Popen[bytes]":
    """`twotower publish` as a process."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "trainer", "publish", str(shop.releases[number].path)),
            *("--admin-embedding", shop.embedding.admin_address, "--admin-ranking", shop.ranking.admin_address),
        ]
    )


def _published(shop: Shop) -> bool:
    shop.publish(1)
    return True


def test_ranking_answers_between_the_two_switches(shop: Shop) -> None:
    """A release that was imported and not activated answers as one that is active, also after restarts."""
    release = shop.releases[1]
    with open_channel(shop.embedding.admin_address) as channel:
        requests = list(import_requests(release, []))
        requests[0].header.prepare_only = True
        EmbeddingServiceStub(channel).ImportUsers(iter(requests))
    assert (shop.info(1).space_state, shop.info(0).space_state) == (SpaceState.PREPARED, SpaceState.ACTIVE)
    shop.embedding.kill()
    (release.path.parent / "stable").write_text(f"{release.release_id}\n")  # as if ranking were killed just after it
    shop.embedding.start()
    shop.embedding.wait_until("SERVING")
    until(lambda: shop.answers_with(1))
    shop.client.load_release(release.release_id)
    assert shop.info(1).space_state is SpaceState.ACTIVE
