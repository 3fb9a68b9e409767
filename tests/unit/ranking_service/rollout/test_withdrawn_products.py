"""Withdrawn products stay so whatever happens to their file."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ranking_service.release.registry import FolderRegistry
from ranking_service.release.served import open_served
from ranking_service.rollout.withdrawn_products import FILE, WithdrawnProducts
from tests.support.releases import ReferenceScorer, product_id, write_random_release
from twotower.errors import ReleaseInvalid


@pytest.mark.parametrize("damaged", [b'["product-00001"', b'{"product-00001": 1}', b"\xff", b"[1]"])
async def test_a_damaged_file_brings_no_product_back_and_is_not_written_over(tmp_path: Path, damaged: bytes) -> None:
    served, later = (
        open_served(write_random_release(tmp_path, products=6, seed=seed).path, ReferenceScorer) for seed in (0, 1)
    )
    with ThreadPoolExecutor(1) as executor:
        withdrawn = WithdrawnProducts(FolderRegistry(tmp_path), executor)
        assert await withdrawn.change([product_id(1)], restore=False) == (1, 1)
        assert withdrawn.fit(served).catalogue.withdrawn == {1}
        (tmp_path / FILE).write_bytes(damaged)
        assert withdrawn.fit(served).catalogue.withdrawn == withdrawn.fit(later).catalogue.withdrawn == {1}
        with pytest.raises(ReleaseInvalid, match=f"{FILE} can't be read, mend it or remove it"):
            await withdrawn.change([product_id(2)], restore=False)
        assert (tmp_path / FILE).read_bytes() == damaged
        (tmp_path / FILE).unlink()
        assert withdrawn.fit(served).catalogue.withdrawn == frozenset()
