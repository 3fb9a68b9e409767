"""Labels: who is answered by whom, what is written down, and what another process takes over from it."""

import asyncio
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import fsspec
import pytest

from ranking_service.release.labels import LABELS, POINTER, Labels, read_labels
from ranking_service.release.registry import FolderRegistry, MirroredRegistry, Registry, open_registry
from ranking_service.release.served import ServedRelease, open_served
from ranking_service.rollout.releases import Releases
from tests.support.releases import ReferenceScorer, write_random_release
from twotower.errors import NotFound, ReleaseInvalid


async def _nothing() -> None:
    pass


def make(registry: Registry, executor: ThreadPoolExecutor) -> Releases:
    return Releases(registry, partial(open_served, build_scorer=ReferenceScorer), executor, _nothing)


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, str]:
    """A folder with three releases."""
    root = tmp_path_factory.mktemp("releases")
    a, b, c = (write_random_release(root, products=10, seed=seed).release_id for seed in range(3))
    return root, a, b, c


@pytest.fixture
def registry(ids: tuple[Path, str, str, str]) -> FolderRegistry:
    """That folder without labels."""
    for name in (POINTER, LABELS):
        (ids[0] / name).unlink(missing_ok=True)
    return FolderRegistry(ids[0])


def test_a_canary_keeps_its_users_as_its_share_grows() -> None:
    users = [f"user {i}" for i in range(4_000)]
    before: set[str] = set()
    for share in (0.0, 0.1, 0.25, 0.8, 1.0):
        labels = Labels(stable="a", canary="b", canary_share=share)
        chosen = {user for user in users if labels.is_canary_user(user)}
        assert before <= chosen
        assert len(chosen) == pytest.approx(share * len(users), abs=100)
        before = chosen
    assert before == set(users)


async def test_labels_come_and_go(registry: FolderRegistry, ids: tuple[Path, str, str, str]) -> None:
    _, a, b, c = ids
    with ThreadPoolExecutor(1) as executor:
        releases = make(registry, executor)
        await releases.load(a)
        await releases.set_canary(b, 0.5)
        await releases.set_shadow(c)
        answered = {releases.for_user(f"user {i}").release_id for i in range(100)}
        assert answered == {a, b}
        assert [served.release_id for served in releases.in_memory()] == [a, b, c]
        assert (releases.answering(b), releases.answering(c)) == (releases.canary, None)
        assert read_labels(registry) == Labels(a, "", b, 0.5, c)

        await releases.set_shadow(b)  # from canary to shadow
        assert read_labels(registry) == Labels(a, "", "", 0.0, b)
        for change in (releases.set_shadow(a), releases.set_canary(a, 0.5), releases.clear(a)):
            with pytest.raises(ReleaseInvalid, match="stable"):
                await change
        await releases.clear(b)
        assert [served.release_id for served in releases.in_memory()] == [a]
        with pytest.raises(NotFound):
            await releases.set_canary("missing", 0.5)
        assert releases.labels == Labels(a)


async def test_rollback_goes_back_and_forth(registry: FolderRegistry, ids: tuple[Path, str, str, str]) -> None:
    _, a, b, c = ids
    with ThreadPoolExecutor(1) as executor:
        releases = make(registry, executor)
        await releases.load(a)
        with pytest.raises(NotFound, match="before"):
            await releases.roll_back()
        await releases.load(b)
        await releases.set_canary(c, 0.5)
        assert (await releases.roll_back()).release_id == a
        assert releases.labels == read_labels(registry) == Labels(stable=a, previous=b)
        await releases.roll_back()
        assert releases.current.release_id == b

        again = make(registry, executor)
        await again.start(None)
        assert again.labels == Labels(stable=b, previous=a)
        await again.roll_back()
        assert again.current.release_id == a


async def test_another_process_follows(registry: FolderRegistry, ids: tuple[Path, str, str, str]) -> None:
    _, a, b, c = ids
    with ThreadPoolExecutor(1) as executor:
        first, second = make(registry, executor), make(registry, executor)
        await first.load(a)
        await second.start(None)
        await first.load(b)
        await first.set_canary(c, 0.25)
        await second.follow()
        assert second.labels == first.labels
        registry.write(POINTER, b"missing\n")
        await second.follow()
        await second.follow()
        assert second.current.release_id == b
        await first.roll_back()
        await second.follow()
        assert second.current.release_id == a


async def test_canary_and_shadow_survive_a_restart(registry: FolderRegistry, ids: tuple[Path, str, str, str]) -> None:
    _, a, b, c = ids
    with ThreadPoolExecutor(1) as executor:
        releases, again = make(registry, executor), make(registry, executor)
        await releases.load(a)
        await releases.set_canary(b, 0.5)
        await releases.set_shadow(c)
        await again.start(None)
        assert again.labels == Labels(stable=a, canary=b, canary_share=0.5, shadow=c)


async def test_a_canary_that_is_gone_does_not_stop_a_start(
    registry: FolderRegistry, ids: tuple[Path, str, str, str]
) -> None:
    _, a, _, c = ids
    registry.write(POINTER, a.encode())
    registry.write(LABELS, f'{{"canary": "missing", "canary_share": 0.5, "shadow": "{c}"}}'.encode())
    with ThreadPoolExecutor(1) as executor:
        releases = make(registry, executor)
        await releases.start(None)
        assert releases.labels == Labels(stable=a, shadow=c)


async def test_a_drained_release_leaves_memory(registry: FolderRegistry, ids: tuple[Path, str, str, str]) -> None:
    _, a, b, _ = ids
    with ThreadPoolExecutor(1) as executor:
        releases = make(registry, executor)
        await releases.load(a)
        held: ServedRelease | None = releases.current  # a request in flight
        gone = weakref.ref(releases.current.scorer)
        await releases.load(b)
        assert gone() is not None
        del held
        await asyncio.sleep(0)
        gc.collect()
        assert gone() is None


def test_unreadable_labels_are_none(registry: FolderRegistry) -> None:
    registry.write(POINTER, b"a\n")
    for damaged in (b"not json", b"[]", b'{"canary_share": "x"}', b"\xff"):
        registry.write(LABELS, damaged)
        assert read_labels(registry) == Labels("a")


async def test_an_object_store_is_mirrored_and_damaged_copies_are_fetched_anew(
    ids: tuple[Path, str, str, str], tmp_path: Path
) -> None:
    root, a, b, _ = ids
    store = fsspec.filesystem("memory")
    store.put(str(root), "/bucket/releases", recursive=True)
    try:
        for name in (POINTER, LABELS):
            if store.exists(f"/bucket/releases/{name}"):
                store.rm(f"/bucket/releases/{name}")
        registry = open_registry("memory://bucket/releases", tmp_path / "mirror")
        assert isinstance(registry, MirroredRegistry)
        with ThreadPoolExecutor(1) as executor:
            releases = make(registry, executor)
            assert {manifest.release_id for manifest in await releases.list()} == set(ids[1:])
            await releases.load(a)
            assert store.cat("/bucket/releases/stable") == f"{a}\n".encode()
            with pytest.raises(NotFound, match="missing"):
                await releases.load("missing")
            copy = tmp_path / "mirror" / b
            await releases.load(b)
            (copy / "product_fusion.npy").write_bytes(b"short")
            again = make(registry, executor)
            await again.start(None)
            assert again.current.release_id == b
            assert {path.name for path in (tmp_path / "mirror").iterdir()} == {a, b}
    finally:
        store.rm("/bucket", recursive=True)
