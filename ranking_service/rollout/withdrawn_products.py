"""Products that must not be shown: a list beside the releases, obeyed by every release that has them."""

import asyncio
import json
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final

from ranking_service.release.registry import Registry
from ranking_service.release.served import ServedRelease
from twotower.errors import ReleaseInvalid

_LOG = logging.getLogger(__name__)
FILE: Final = "withdrawn_products.json"
"""Lies beside the releases: a JSON list of product ids."""


class WithdrawnProducts:
    """The withdrawn products, in a file beside the releases.

    Args:
        registry: where the file is.
        executor: reads and writes the file.
    """

    def __init__(self, registry: Registry, executor: Executor) -> None:
        self._registry = registry
        self._executor = executor
        self._last_read: bytes | None = None
        self._product_ids: list[str] = []

    def fit(self, served: ServedRelease) -> ServedRelease:
        """Read the file, and return the release with exactly those products withdrawn.

        While the file can't be read, what it said before stays.
        """
        try:
            self._product_ids = _parse(self._registry.read(FILE))
        except ReleaseInvalid as error:
            _LOG.error("%s; %d products stay withdrawn", error, len(self._product_ids))
        catalogue = served.catalogue.with_withdrawn(self._product_ids)
        return served if catalogue is served.catalogue else replace(served, catalogue=catalogue)

    async def changed(self) -> bool:
        """Whether the file has changed since this was last asked."""
        data = await asyncio.get_running_loop().run_in_executor(self._executor, self._registry.read, FILE)
        before, self._last_read = self._last_read, data
        return before != data

    async def change(self, product_ids: Sequence[str], *, restore: bool) -> tuple[int, int]:
        """Withdraw products or bring them back, in the file; :meth:`fit` obeys it.

        Returns:
            How many changed, and how many are withdrawn now.

        Raises:
            ReleaseInvalid: the file can't be read, or can't be written.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._merge, product_ids, restore)

    def _merge(self, product_ids: Sequence[str], restore: bool) -> tuple[int, int]:
        with self._registry.locked(FILE):
            before = set(_parse(self._registry.read(FILE)))
            after = before - set(product_ids) if restore else before | set(product_ids)
            if after != before:
                self._registry.write(FILE, (json.dumps(sorted(after), ensure_ascii=False, indent=0) + "\n").encode())
        return len(before ^ after), len(after)


def _parse(data: bytes | None) -> list[str]:
    """Parse the file; none is an empty list.

    Raises:
        ReleaseInvalid: it is no list of product ids.
    """
    try:
        product_ids = json.loads(data or b"[]")
        if not isinstance(product_ids, list) or not all(isinstance(product_id, str) for product_id in product_ids):
            raise ValueError("not a list of product ids")
    except ValueError as error:
        raise ReleaseInvalid(f"{FILE} can't be read, mend it or remove it: {error}") from error
    return product_ids
