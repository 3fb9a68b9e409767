"""Registries: an object store is mirrored."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from ranking_service.release.registry import MirroredRegistry, open_registry
from tests.support.ranking import releases_of
from tests.support.releases import write_random_release
from twotower.errors import NotFound


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
