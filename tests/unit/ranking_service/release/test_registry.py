"""Registries: an object store is mirrored."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fsspec.implementations.dirfs import DirFileSystem

from ranking_service.release.registry import MirroredRegistry, open_registry
from tests.support.ranking import releases_of
from tests.support.releases import write_random_release
from twotower.errors import InvalidArgument, NotFound, ReleaseInvalid
from twotower.release import MANIFEST, SIGNATURE, Release, is_served


async def test_an_object_store_is_mirrored_and_damaged_copies_are_fetched_anew(tmp_path: Path) -> None:
    root = tmp_path / "releases"
    ids = [write_random_release(root, products=10, seed=seed).release_id for seed in range(3)]
    a, b, _ = ids
    store = fsspec.filesystem("memory")
    store.put(str(root), "/bucket/releases", recursive=True)
    try:
        registry = open_registry("memory://bucket/releases", tmp_path / "mirror")
        assert isinstance(registry, MirroredRegistry)
        with ThreadPoolExecutor(1) as executor:
            releases = releases_of(registry, executor)
            assert {manifest.release_id for manifest in await releases.list()} == set(ids)
            await releases.load(a)
            assert store.cat("/bucket/releases/stable") == f"{a}\n".encode()
            with pytest.raises(NotFound, match="missing"):
                await releases.load("missing")
            copy = tmp_path / "mirror" / b
            await releases.load(b)
            (copy / "product_fusion.npy").write_bytes(b"short")
            again = releases_of(registry, executor)
            await again.start(None)
            assert again.current.release_id == b
            assert {path.name for path in (tmp_path / "mirror").iterdir()} == {a, b}
    finally:
        store.rm("/bucket", recursive=True)


class GuardedStore(DirFileSystem):  # type: ignore[misc]
    """A folder as an object store that says "forbidden" for what is missing, and that caches listings."""

    def __init__(self, root: Path, *, may_list: bool) -> None:
        super().__init__(str(root), fsspec.filesystem("file", skip_instance_cache=True))
        self.may_list, self.forbidden = may_list, ""
        self.listings: dict[str, Any] = {}

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        if not self.exists(path) or (self.forbidden and path.endswith(self.forbidden)):
            raise PermissionError("403: forbidden")
        return bytes(super().cat_file(path, *args, **kwargs))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        return self._cached("ls", path, lambda: super(GuardedStore, self).ls(path, detail=detail, **kwargs))

    def glob(self, path: str, **kwargs: Any) -> Any:
        return self._cached("glob", path, lambda: super(GuardedStore, self).glob(path, **kwargs))

    def invalidate_cache(self, path: str | None = None) -> None:
        self.listings.clear()

    def _cached(self, kind: str, path: str, ask: Any) -> Any:
        if not self.may_list:
            raise PermissionError("403: forbidden")
        return self.listings.setdefault(f"{kind} {path}", ask())


def _guarded(tmp_path: Path, *, may_list: bool) -> tuple[MirroredRegistry, GuardedStore]:
    registry, store = MirroredRegistry("memory://x", tmp_path / "mirror"), GuardedStore(tmp_path, may_list=may_list)
    registry._files, registry._root = store, "releases"
    return registry, store


@pytest.mark.parametrize("may_list", [True, False])
def test_forbidden_means_missing_unless_the_object_is_listed(tmp_path: Path, may_list: bool) -> None:
    registry, store = _guarded(tmp_path, may_list=may_list)
    (tmp_path / "releases").mkdir()
    assert registry.read("stable") is None
    with pytest.raises(NotFound, match="missing"):
        registry.fetch("missing")
    (tmp_path / "releases/stable").write_text("a")
    assert registry.read("stable") == b"a"
    store.forbidden = "stable"
    if may_list:  # it is there, and must not be taken for an empty one and overwritten
        with pytest.raises(ReleaseInvalid, match="stable: may not be read"):
            registry.read("stable")
    else:
        with pytest.raises(ReleaseInvalid, match="may not be listed"):
            registry.manifests()


def test_a_new_release_is_listed_at_once(tmp_path: Path) -> None:
    registry, _ = _guarded(tmp_path, may_list=True)
    (tmp_path / "releases").mkdir()
    assert registry.manifests() == []
    release_id = write_random_release(tmp_path / "releases", products=10).release_id
    assert [manifest.release_id for manifest in registry.manifests()] == [release_id]


@pytest.mark.parametrize(
    ("url", "sentence"),
    [("abfs://bucket/releases", "pip install adlfs"), ("nothing://x", "must be a folder, or a URL that fsspec knows")],
)
def test_a_url_that_cannot_be_opened_names_what_is_missing(tmp_path: Path, url: str, sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=sentence) as caught:
        open_registry(url, tmp_path)
    assert [violation.field for violation in caught.value.violations] == ["releases"]


def test_small_files_are_kept_apart_from_a_read_only_folder_of_releases(tmp_path: Path) -> None:
    releases, state = tmp_path / "releases", tmp_path / "state"
    (releases / "r").mkdir(parents=True)
    state.mkdir()
    registry = open_registry(str(releases), tmp_path / "mirror", state)

    with registry.locked("labels.json"):
        registry.write("labels.json", b"{}")

    assert registry.read("labels.json") == b"{}"
    assert registry.fetch("r") == releases / "r"
    assert [path.name for path in releases.iterdir()] == ["r"]


def stored(path: Path, root: str) -> Any:
    """Copy a release into a store in memory."""
    store = fsspec.filesystem("memory")
    store.put(f"{path}/", f"{root}/{path.name}", recursive=True)
    return store


def test_a_mirror_has_what_ranking_reads_and_nothing_else(tmp_path: Path) -> None:
    release = write_random_release(tmp_path / "releases", signing_key=Ed25519PrivateKey.generate())
    store = stored(release.path, "/only")
    store.pipe_file(f"/only/{release.release_id}/users/user_ids.jsonl", b'"Ann"\n')
    store.pipe_file(f"/only/{release.release_id}/unlisted.npy", b"x")
    mirrored = open_registry("memory://only", tmp_path / "mirror").fetch(release.release_id)
    names = {str(path.relative_to(mirrored)) for path in mirrored.rglob("*") if path.is_file()}
    assert names == {MANIFEST, SIGNATURE, *filter(is_served, release.manifest.files)}
    assert not any(name.startswith(("users/", "encoder/", "two_tower", "golden/text")) for name in names)
    assert Release.open(mirrored, needed=is_served).catalogue == release.catalogue


def test_a_mirror_writes_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    release = write_random_release(tmp_path / "releases")
    store = stored(release.path, "/crafted")
    store.pipe_file(f"/crafted/{release.release_id}/../../evil", b"x")
    raw = json.loads((release.path / MANIFEST).read_text())
    raw["files"]["../../evil"] = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
    content = {key: value for key, value in raw.items() if key not in ("release_id", "created_at")}
    raw["release_id"] = f"random-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]}"
    store.pipe_file(f"/crafted/{raw['release_id']}/{MANIFEST}", json.dumps(raw).encode())
    registry = open_registry("memory://crafted", tmp_path / "mirror" / "deep")
    with pytest.raises(ReleaseInvalid, match="names within the folder"):
        registry.fetch(raw["release_id"])
    assert not list(tmp_path.rglob("evil"))
    assert raw["release_id"] not in [manifest.release_id for manifest in registry.manifests()]


def test_a_copy_with_the_right_size_and_wrong_bytes_is_fetched_anew(tmp_path: Path) -> None:
    release = write_random_release(tmp_path / "releases")
    stored(release.path, "/bytes")
    registry = open_registry("memory://bytes", tmp_path / "mirror")
    file = registry.fetch(release.release_id) / "item_factors.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    Release.open(registry.fetch(release.release_id), needed=is_served)


def test_a_release_that_is_signed_later_is_fetched_anew(tmp_path: Path) -> None:
    release = write_random_release(tmp_path / "releases")
    store = stored(release.path, "/later")
    registry = open_registry("memory://later", tmp_path / "mirror")
    copy = registry.fetch(release.release_id)
    assert not (copy / SIGNATURE).exists()
    for signature in (b"first", b"second"):
        store.pipe_file(f"/later/{release.release_id}/{SIGNATURE}", signature)
        assert (registry.fetch(release.release_id) / SIGNATURE).read_bytes() == signature
    store.rm("/later", recursive=True)
    assert (registry.fetch(release.release_id) / SIGNATURE).read_bytes() == b"second"


def test_what_a_killed_process_left_of_a_copy_is_removed_and_a_copy_in_use_stays(tmp_path: Path) -> None:
    release = write_random_release(tmp_path / "releases")
    stored(release.path, "/killed")
    mirror = tmp_path / "mirror"
    (mirror / ".mirroring-killed" / "tree").mkdir(parents=True)
    first = open_registry("memory://killed", mirror)
    with ThreadPoolExecutor(8) as executor:
        copies = set(executor.map(first.fetch, [release.release_id] * 16))
    assert copies == {mirror / release.release_id}
    assert [path.name for path in mirror.iterdir()] == [release.release_id]
    inode = (mirror / release.release_id).stat().st_ino
    assert first.fetch(release.release_id).stat().st_ino == inode
