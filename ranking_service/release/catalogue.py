"""The catalogue of one release: products by id, by brand and by category, and neighbours by tower."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twotower.errors import NotFound
from twotower.features import Float32, Int64
from twotower.model import top_k
from twotower.release import Product

NO_BRAND: Final = -1


class Catalogue:
    """Products in index order.

    Args:
        products: the rows of the release's catalogue.
        towers: (products, 64) float32.
        release_id: named in errors.
    """

    def __init__(self, products: Sequence[Product], towers: Float32, release_id: str) -> None:
        self.products = tuple(products)
        self.product_ids = [product.product_id for product in products]
        self.towers = towers
        self._release_id = release_id
        self._index = {product_id: index for index, product_id in enumerate(self.product_ids)}

    def __len__(self) -> int:
        return len(self.products)

    def __contains__(self, product_id: str) -> bool:
        return product_id in self._index

    def index_of(self, product_id: str) -> int:
        """Row of a product.

        Raises:
            NotFound: naming the product.
        """
        index = self._index.get(product_id)
        if index is None:
            raise NotFound(f"product {product_id!r} is not in release {self._release_id}")
        return index

    def row(self, product_id: str) -> int:
        """Row of a product; -1 if it is not there."""
        return self._index.get(product_id, -1)

    def known_indices(self, product_ids: Iterable[str]) -> list[int]:
        """Rows of those products that the release knows."""
        index = self._index
        return [index[product_id] for product_id in product_ids if product_id in index]

    def similar(self, product: int, k: int) -> tuple[Int64, Float32]:
        """The k products whose towers have the largest cosine with a product's, itself left out.

        Args:
            product: row of the product.
            k: at most this many.

        Returns:
            Rows, nearest first, equal cosines in catalogue order; and the cosines.
        """
        cosines = self.directions @ self.directions[product]
        cosines[product] = -np.inf
        nearest = top_k(cosines[np.newaxis], min(k, len(self) - 1))[0] if len(self) > 1 else np.zeros(0, np.int64)
        return nearest, np.clip(cosines[nearest], -1, 1)

    @cached_property
    def directions(self) -> Float32:
        """Towers of length 1, (products, 64) float32; a zero tower stays zero."""
        towers = np.asarray(self.towers, np.float32)
        lengths = np.linalg.norm(towers, axis=1, keepdims=True)
        return (towers / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    @cached_property
    def brand_codes(self) -> Int64:
        """(products,) int64: equal for equal brands, compared without case and outer blanks; ``NO_BRAND`` where there
        is none.
        """
        codes = np.full(len(self), NO_BRAND, np.int64)
        for code, rows in enumerate(self._rows_by_brand.values()):
            codes[rows] = code
        return codes

    def of_brands(self, brands: Iterable[str]) -> NDArray[np.bool_]:
        """(products,): of one of the brands."""
        return self._mask(self._rows_by_brand, brands)

    def of_categories(self, categories: Iterable[str]) -> NDArray[np.bool_]:
        """(products,): in at least one of the categories."""
        return self._mask(self._rows_by_category, categories)

    def mask(self, product_ids: Iterable[str]) -> NDArray[np.bool_]:
        """(products,): one of these."""
        mask = np.zeros(len(self), bool)
        mask[self.known_indices(product_ids)] = True
        return mask

    def _mask(self, index: dict[str, list[int]], names: Iterable[str]) -> NDArray[np.bool_]:
        mask = np.zeros(len(self), bool)
        for name in names:
            mask[index.get(_key(name), [])] = True
        return mask

    @cached_property
    def _rows_by_brand(self) -> dict[str, list[int]]:
        return _grouped((row, (product.brand,)) for row, product in enumerate(self.products))

    @cached_property
    def _rows_by_category(self) -> dict[str, list[int]]:
        return _grouped((row, product.categories.split(",")) for row, product in enumerate(self.products))


def _grouped(named: Iterable[tuple[int, Iterable[str]]]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, names in named:
        for name in names:
            if key := _key(name):
                rows.setdefault(key, []).append(row)
    return rows


def _key(name: str) -> str:
    return name.strip().casefold()
