"""Opening, labelling and swapping releases, with the numpy network as scorer."""

import asyncio
import gc
import json
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from ranking_service.release.labels import LABELS, POINTER, Labels, read_labels
from ranking_service.release.registry import FolderRegistry
from ranking_service.release.served import ServedRelease, open_served
from ranking_service.rollout.releases import Releases
from tests.support.ranking import releases_of
from tests.support.releases import ReferenceScorer, write_random_release
from tests.support.spaces import any_space
from twotower.errors import InvalidArgument, NotFound, NotReady, ReleaseInvalid


def make(root: Path, executor: ThreadPoolExecutor, error: float = 0.0) -> tuple[Releases, list[str]]:
    served: list[str] = []

    async def on_serving() -> None:
        served.append(releases.current.release_id)

    releases = Releases(
        FolderRegistry(root),
        partial(open_served, build_scorer=partial(ReferenceScorer, error=error)),
        executor,
        on_serving,
        any_space(),
    )
    return releases, served


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_waits_then_loads_then_starts_with_what_was_loaded(tmp_path: Path) -> None:
    a, b = (write_random_release(tmp_path, products=10, seed=seed).release_id for seed in (0, 1))
    with ThreadPoolExecutor(1) as executor:
        releases, served = make(tmp_path, executor)
        await releases.start(None)
        with pytest.raises(NotReady):
            _ = releases.current
        assert served == []
        await releases.load(a)
        await releases.load(b)
        assert (served, releases.current.release_id) == ([a, b], b)
        assert releases.current.scorer.warm  # type: ignore[attr-defined]
        assert {manifest.release_id for manifest in await releases.list()} == {a, b}

        again, _ = make(tmp_path, executor)
        await again.start(None)
        assert again.current.release_id == b
        await again.start(a)
        assert again.current.release_id == a
        assert (tmp_path / POINTER).read_text() == f"{b}\n"
        assert _names(tmp_path) == {a, b, "encoders", POINTER, LABELS, f".{LABELS}.lock"}


def _truncate(path: Path) -> str:
    file = path / "product_fusion.npy"
    file.write_bytes(file.read_bytes()[:-1])
    return "product_fusion.npy"


def _edit(path: Path) -> str:
    file = path / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    return "weights.safetensors"


def _remove(path: Path) -> str:
    (path / "golden/scores.npy").unlink()
    return "golden/scores.npy"


def _edit_manifest(path: Path) -> str:
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["golden_tolerance"] = 10.0
    file.write_text(json.dumps(manifest))
    return "manifest.json"


@pytest.mark.parametrize("spoil", [_truncate, _edit, _remove, _edit_manifest])
async def test_a_bad_release_is_refused_by_name_and_the_old_one_stays(tmp_path: Path, spoil: object) -> None:
    good, bad = (write_random_release(tmp_path, products=10, seed=seed) for seed in (0, 1))
    assert callable(spoil)
    file = spoil(bad.path)
    with ThreadPoolExecutor(1) as executor:
        releases, served = make(tmp_path, executor)
        await releases.load(good.release_id)
        with pytest.raises(ReleaseInvalid, match=file):
            await releases.load(bad.release_id)
        assert releases.current.release_id == good.release_id
        assert served == [good.release_id]
        assert (tmp_path / POINTER).read_text().strip() == good.release_id


async def test_a_network_that_does_not_give_the_golden_scores_is_refused(tmp_path: Path) -> None:
    release_id = write_random_release(tmp_path, products=10).release_id
    with ThreadPoolExecutor(1) as executor:
        releases, _ = make(tmp_path, executor, error=0.01)
        with pytest.raises(ReleaseInvalid, match=r"golden request 0: scores differ by 0\.01"):
            await releases.load(release_id)


async def test_names_that_are_no_release(tmp_path: Path) -> None:
    release = write_random_release(tmp_path, products=10)
    shutil.copytree(release.path, tmp_path / "renamed")
    with ThreadPoolExecutor(1) as executor:
        releases, _ = make(tmp_path, executor)
        with pytest.raises(NotFound, match="missing"):
            await releases.load("missing")
        with pytest.raises(ReleaseInvalid, match="renamed"):
            await releases.load("renamed")
        (tmp_path / POINTER).write_text("../elsewhere")
        with pytest.raises(InvalidArgument, match="release_id"):
            await releases.start(None)


async def test_concurrent_loads_take_turns(tmp_path: Path) -> None:
    ids = [write_random_release(tmp_path, products=10, seed=seed).release_id for seed in range(3)]
    with ThreadPoolExecutor(2) as executor:
        releases, served = make(tmp_path, executor)
        await asyncio.gather(*(releases.load(release_id) for release_id in ids))
        assert served == ids
        assert (tmp_path / POINTER).read_text().strip() == releases.current.release_id == ids[-1]


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


async def test_labels_come_and_go(registry: FolderRegistry, ids: tuple[Path, str, str, str]) -> None:
    _, a, b, c = ids
    with ThreadPoolExecutor(1) as executor:
        releases = releases_of(registry, executor)
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
        releases = releases_of(registry, executor)
        await releases.load(a)
        with pytest.raises(NotFound, match="before"):
            await releases.roll_back()
        await releases.load(b)
        await releases.set_canary(c, 0.5)
        assert (await releases.roll_back()).release_id == a
        assert releases.labels == read_labels(registry) == Labels(stable=a, previous=b)
        await releases.roll_back()
        assert releases.current.release_id == b

        again = releases_of(registry, executor)
        await again.start(None)
        assert again.labels == Labels(stable=b, previous=a)
        await again.roll_back()
        assert again.current.release_id == a


async def test_another_process_follows(registry: FolderRegistry, ids: tuple[Path, str, str, str]) -> None:
    _, a, b, c = ids
    with ThreadPoolExecutor(1) as executor:
        first, second = releases_of(registry, executor), releases_of(registry, executor)
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


async def test_a_canary_that_is_gone_does_not_stop_a_start(
    registry: FolderRegistry, ids: tuple[Path, str, str, str]
) -> None:
    _, a, _, c = ids
    registry.write(POINTER, a.encode())
    registry.write(LABELS, f'{{"canary": "missing", "canary_share": 0.5, "shadow": "{c}"}}'.encode())
    with ThreadPoolExecutor(1) as executor:
        releases = releases_of(registry, executor)
        await releases.start(None)
        assert releases.labels == Labels(stable=a, shadow=c)


async def test_canary_and_shadow_survive_a_restart(registry: FolderRegistry, ids: tuple[Path, str, str, str]) -> None:
    _, a, b, c = ids
    with ThreadPoolExecutor(1) as executor:
        releases, again = releases_of(registry, executor), releases_of(registry, executor)
        await releases.load(a)
        await releases.set_canary(b, 0.5)
        await releases.set_shadow(c)
        await again.start(None)
        assert again.labels == Labels(stable=a, canary=b, canary_share=0.5, shadow=c)


async def test_a_release_that_is_started_with_loses_its_other_label(
    registry: FolderRegistry, ids: tuple[Path, str, str, str]
) -> None:
    _, a, b, c = ids
    with ThreadPoolExecutor(1) as executor:
        releases, again = releases_of(registry, executor), releases_of(registry, executor)
        await releases.load(a)
        await releases.set_canary(b, 0.5)
        await releases.set_shadow(c)
        await again.start(b)
        assert again.labels == Labels(stable=b, shadow=c)
        assert again.canary is None


async def test_a_drained_release_leaves_memory(registry: FolderRegistry, ids: tuple[Path, str, str, str]) -> None:
    _, a, b, _ = ids
    with ThreadPoolExecutor(1) as executor:
        releases = releases_of(registry, executor)
        await releases.load(a)
        held: ServedRelease | None = releases.current  # a request in flight
        gone = weakref.ref(releases.current.scorer)
        await releases.load(b)
        assert gone() is not None
        del held
        await asyncio.sleep(0)
        gc.collect()
        assert gone() is None


async def test_what_could_not_be_followed_is_tried_again(
    registry: FolderRegistry, ids: tuple[Path, str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, a, b, _ = ids
    monkeypatch.setattr("ranking_service.rollout.releases._MIN_RETRY_S", 0.0)
    with ThreadPoolExecutor(1) as executor:
        first, second = releases_of(registry, executor), releases_of(registry, executor)
        await first.load(a)
        await second.start(None)
        await first.load(b)
        opens = second._open
        for failure in (OSError("a store that is away for a moment"), MemoryError()):

            def fails(path: Path, failure: BaseException = failure) -> ServedRelease:
                raise failure

            second._open = fails
            await second.follow()
            assert second.labels == Labels(a)
        second._open = opens
        await second.follow()
        assert second.labels == first.labels == Labels(stable=b, previous=a)
