"""Switching releases: what is dropped, when, and what brings it back."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from embedding_service.ports import Space
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.user_store import RedisUserStore
from embedding_service.releases.encoding_queue import EncodingQueue
from embedding_service.releases.spaces import Spaces
from tests.support.embedding_calls import Service, StartService, features, imported_user, publish, record
from tests.support.encoders import HashEncoder
from tests.support.importing import import_requests, space_of
from tests.support.releases import write_random_release
from twotower.encoder import encoder_id
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb

WARM = [imported_user("warm", ["a", "b"])]


async def prepare(service: Service, release: Release) -> None:
    """Prepare a release's space."""
    request = pb.PrepareSpaceRequest(release_id=release.release_id, space=space_of(release))
    await service.stub.PrepareSpace(request)


async def retire(service: Service, release: Release, *served: Release) -> pb.RetireSpacesResponse:
    """Retire spaces, as `publish` does once ranking serves `release`."""
    ids = [one.release_id for one in served or (release,)]
    response: pb.RetireSpacesResponse = await service.stub.RetireSpaces(
        pb.RetireSpacesRequest(release_id=release.release_id, served_release_ids=ids)
    )
    return response


@pytest.fixture
def three(releases: Path, release: Release, other_release: Release) -> list[Release]:
    """Releases of three ALS spaces and one encoder."""
    return [release, other_release, write_random_release(releases, seed=2, products=30)]


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisUserStore]:
    """The store behind the services, as the next service sees it."""
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=2))
    yield store
    await store.close()


async def test_imports_and_activations_retire_nothing(
    start_service: StartService, redis_server: RedisServer, store: RedisUserStore, three: list[Release]
) -> None:
    release = three[0]
    service = await start_service(store=redis_server.url, keep_als_hours=0, keep_logs_days=0)
    for one in three:
        await publish(service, one, WARM)
        await service.stub.ActivateRelease(pb.ActivateReleaseRequest(release_id=one.release_id))
    assert await store.retired_spaces.drop() == 0
    assert (await store.read(Space(release.manifest.encoder_id, release.manifest.als_id), ["warm"])).als_origins[0]
    await prepare(service, release)
    assert (await features(service, "warm", space=space_of(release))).review_count == 2


async def test_only_the_active_release_retires_and_only_what_ranking_does_not_serve(
    start_service: StartService, three: list[Release]
) -> None:
    release, other_release, third = three
    service = await start_service()
    for one in three:
        await publish(service, one, WARM)
    with pytest.raises(grpc.aio.AioRpcError, match="is not the active release") as caught:
        await retire(service, other_release)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.aio.AioRpcError, match=f"ranking serves {release.release_id}, which can't be asked for"):
        await retire(service, third, release)
    retired = await retire(service, third)
    assert (list(retired.encoder_ids), list(retired.als_ids)) == ([], [release.manifest.als_id])


async def test_a_retired_space_can_be_taken_back_until_its_time_is_over(
    start_service: StartService, redis_server: RedisServer, store: RedisUserStore, three: list[Release]
) -> None:
    release = three[0]
    service = await start_service(store=redis_server.url)
    for one in three:
        await publish(service, one, WARM)
    await retire(service, three[2])
    await prepare(service, release)
    assert await store.retired_spaces.drop() == 0  # this one would keep nothing
    assert list((await retire(service, three[2])).als_ids) == []


async def test_logs_of_another_encoder_wait_for_days_and_come_back(
    start_service: StartService, releases: Path, redis_server: RedisServer, release: Release
) -> None:
    """Two publishes of releases of another encoder: reviews that were recorded live are in the first one only."""
    newer = [write_random_release(releases, seed=10 + i, encoder_seed=1) for i in range(2)]
    service = await start_service(store=redis_server.url)
    await publish(service, release, WARM)
    await record(service, "live", "warm")
    for one in newer:
        await publish(service, one, WARM)
        retired = await retire(service, one)
    assert list(retired.encoder_ids) == [release.manifest.encoder_id]

    now = 0.0
    kept = RedisUserStore(
        connect(redis_server.url, timeout_s=5.0, connections=2), keep_logs_s=7 * 86_400, clock=lambda: now
    )
    now = time.time() + 6 * 86_400
    await kept.retired_spaces.drop()
    activated = await service.stub.ActivateRelease(pb.ActivateReleaseRequest(release_id=release.release_id))
    assert activated.space.state == pb.SPACE_STATE_ACTIVE
    assert (await features(service, "warm")).review_count == 3

    await service.stub.ActivateRelease(pb.ActivateReleaseRequest(release_id=newer[0].release_id))
    await service.stub.ActivateRelease(pb.ActivateReleaseRequest(release_id=newer[1].release_id))
    await retire(service, newer[1])
    now = time.time() + 8 * 86_400
    assert await kept.retired_spaces.drop() > 0
    with pytest.raises(grpc.aio.AioRpcError, match=f"twotower publish {release.release_id}"):
        await service.stub.ActivateRelease(pb.ActivateReleaseRequest(release_id=release.release_id))
    await kept.close()


async def test_an_import_of_no_users_activates_nothing(
    start_service: StartService, release: Release, other_release: Release
) -> None:
    service = await start_service()
    await publish(service, release, WARM)
    with pytest.raises(grpc.aio.AioRpcError, match=r"header\.user_count: must be at least 1") as caught:
        await service.stub.ImportUsers(import_requests(other_release, []))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    spaces = (await service.stub.ListSpaces(pb.ListSpacesRequest())).spaces
    assert [space.release_id for space in spaces] == [release.release_id]


async def test_far_fewer_users_than_before_are_refused_unless_forced(
    start_service: StartService, release: Release, other_release: Release
) -> None:
    service = await start_service()
    users = [imported_user(f"u{i}", ["a"]) for i in range(5)]
    await publish(service, release, users)
    with pytest.raises(grpc.aio.AioRpcError, match=r"must be at least half of the 5 users .* got 2.*--force"):
        await publish(service, other_release, users[:2])
    await publish(service, other_release, users[:3])
    requests = list(import_requests(release, users[:1]))
    requests[0].header.force = True
    assert (await service.stub.ImportUsers(iter(requests))).user_count == 1


async def test_failed_imports_leave_no_release_and_no_encoder_in_memory(
    start_service: StartService, releases: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Spaces] = []
    monkeypatch.setattr(Spaces, "follow", _noting(held, Spaces.follow))
    others = [write_random_release(releases, seed=20 + i, encoder_seed=20 + i) for i in range(3)]
    service = await start_service()
    await publish(service, release, WARM)
    for one in others:
        with pytest.raises(grpc.aio.AioRpcError, match="2 users were announced, 0 came"):
            await publish(service, one, count=2)
    [spaces] = set(held)
    assert spaces.loaded == [Space(release.manifest.encoder_id, release.manifest.als_id)]
    assert set(spaces._queues) == {release.manifest.encoder_id}
    assert (await features(service, "warm")).review_count == 2


def _noting(held: list[Spaces], follow):  # type: ignore[no-untyped-def]
    async def noted(self, active):  # type: ignore[no-untyped-def]
        held.append(self)
        await follow(self, active)

    return noted


@pytest.mark.parametrize("name", ["..", "alias"])
async def test_a_release_goes_by_its_own_name_only(
    start_service: StartService, releases: Path, release: Release, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "aliases"
    folder.mkdir()
    (folder / "alias").symlink_to(release.path)
    (folder / release.release_id).symlink_to(release.path)
    service = await start_service(releases=folder)
    await publish(service, release, WARM)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.stub.ActivateRelease(pb.ActivateReleaseRequest(release_id=name))
    assert caught.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
    assert (await features(service, "warm")).review_count == 2


async def test_two_replicas_that_publish_at_once_go_on_answering(
    start_service: StartService, redis_server: RedisServer, release: Release, other_release: Release
) -> None:
    replicas = [await start_service(store=redis_server.url) for _ in range(2)]
    for _ in range(5):
        await asyncio.gather(
            *(publish(replica, one, WARM) for replica, one in zip(replicas, (release, other_release), strict=True))
        )
        for replica in replicas:
            assert (await features(replica, "warm")).review_count == 2
    while len({_active(await replica.stub.ListSpaces(pb.ListSpacesRequest())) for replica in replicas}) > 1:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)


def _active(listed: pb.ListSpacesResponse) -> str:
    return str(listed.spaces[0].release_id)


async def test_a_switch_drops_no_release_that_someone_works_with(releases: Path, release: Release) -> None:
    spaces = Spaces(
        releases,
        lambda path: HashEncoder(encoder_id(path)),
        lambda encoder: EncodingQueue(encoder, max_queued_texts=8, batch_texts=8),
    )
    async with spaces.opened(release.release_id) as opened:
        await spaces.follow(spaces.current)
        assert spaces.loaded == [opened.space]
    assert spaces.loaded == []
    await spaces.close()
