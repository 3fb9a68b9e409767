"""The catalogue of one release: products by id, by brand and by category, and nearest neighbours by tower."""

from collections.abc import Iterable, Sequence
from copy import copy
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twotower.errors import NotFound
from twotower.features import Float32, Int64, split_categories
from twotower.model import top_k
from twotower.release import Product

NO_BRAND: Final = -1


class Catalogue:
    """Products in the order of their rows.

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
        self._rows = {product_id: row for row, product_id in enumerate(self.product_ids)}
        self.withdrawn: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.products)

    def __contains__(self, product_id: str) -> bool:
        return product_id in self._rows

    def find(self, product_id: str) -> int:
        """Return the row of a product.

        Raises:
            NotFound: naming the product.
        """
        row = self._rows.get(product_id)
        if row is None:
            raise NotFound(f"product {product_id!r} is not in release {self._release_id}")
        return row

    def find_offered(self, product_id: str) -> int:
        """Return the row of a product that is not withdrawn.

        Raises:
            NotFound: naming the product.
        """
        row = self.find(product_id)
        if row in self.withdrawn:
            raise NotFound(f"product {product_id!r} is withdrawn")
        return row

    def with_withdrawn(self, product_ids: Iterable[str]) -> "Catalogue":
        """Return the catalogue with exactly these products withdrawn; those that it does not have are left out."""
        withdrawn = frozenset(self.rows(product_ids))
        if withdrawn == self.withdrawn:
            return self
        catalogue = copy(self)
        catalogue.withdrawn = withdrawn
        return catalogue

    @cached_property
    def longest_id_bytes(self) -> int:
        """Bytes of the longest product id."""
        return max((len(product_id.encode()) for product_id in self.product_ids), default=0)

    def row(self, product_id: str) -> int:
        """Return the row of a product; -1 if it is not in the catalogue."""
        return self._rows.get(product_id, -1)

    def rows(self, product_ids: Iterable[str]) -> list[int]:
        """Return the rows of those products that are in the catalogue."""
        rows = self._rows
        return [rows[product_id] for product_id in product_ids if product_id in rows]

    def similar(self, product: int, k: int) -> tuple[Int64, Float32]:
        """Find the k products whose towers have the largest cosine with a product's.

        The product itself and withdrawn ones are left out.

        Args:
            product: row of the product.
            k: at most this many.

        Returns:
            Rows (k,) int64, nearest first, equal cosines in catalogue order; and their cosines (k,) float32.
        """
        cosines = self.directions @ self.directions[product]
        hidden = [product, *(self.withdrawn - {product})]
        cosines[hidden] = -np.inf
        count = min(k, len(self) - len(hidden))
        nearest = top_k(cosines[np.newaxis], count)[0] if count else np.zeros(0, np.int64)
        return nearest, np.clip(cosines[nearest], -1, 1)

    @cached_property
    def directions(self) -> Float32:
        """Towers of length 1, (products, 64) float32; a zero tower stays zero."""
        towers = np.asarray(self.towers, np.float32)
        lengths = np.linalg.norm(towers, axis=1, keepdims=True)
        return (towers / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    @cached_property
    def brand_codes(self) -> Int64:
        """Brands as numbers, (products,) int64: equal for equal brands; ``NO_BRAND`` where there is none.

        Brands are compared without case and without blanks around them.
        """
        codes = np.full(len(self), NO_BRAND, np.int64)
        for code, rows in enumerate(self._rows_by_brand.values()):
            codes[rows] = code
        return codes

    def brand_mask(self, brands: Iterable[str]) -> NDArray[np.bool_]:
        """Mark the products of one of the brands, (products,) bool."""
        return self._name_mask(self._rows_by_brand, brands)

    def category_mask(self, categories: Iterable[str]) -> NDArray[np.bool_]:
        """Mark the products in at least one of the categories, (products,) bool."""
        return self._name_mask(self._rows_by_category, categories)

    def product_mask(self, product_ids: Iterable[str]) -> NDArray[np.bool_]:
        """Mark the products with one of these ids, (products,) bool."""
        mask = np.zeros(len(self), bool)
        mask[self.rows(product_ids)] = True
        return mask

    def _name_mask(self, rows_by_name: dict[str, list[int]], names: Iterable[str]) -> NDArray[np.bool_]:
        mask = np.zeros(len(self), bool)
        for name in names:
            mask[rows_by_name.get(_normalized(name), [])] = True
        return mask

    @cached_property
    def _rows_by_brand(self) -> dict[str, list[int]]:
        return _rows_by_name((row, (product.brand,)) for row, product in enumerate(self.products))

    @cached_property
    def _rows_by_category(self) -> dict[str, list[int]]:
        return _rows_by_name((row, split_categories(product.categories)) for row, product in enumerate(self.products))


def _rows_by_name(rows_and_names: Iterable[tuple[int, Iterable[str]]]) -> dict[str, list[int]]:
    rows_by_name: dict[str, list[int]] = {}
    for row, names in rows_and_names:
        for name in map(_normalized, names):
            if name:
                rows_by_name.setdefault(name, []).append(row)
    return rows_by_name


def _normalized(name: str) -> str:
    return name.strip().casefold()
