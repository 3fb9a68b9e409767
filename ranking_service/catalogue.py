"""The catalogue of one release: products by id, and neighbours by tower."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from twotower.errors import NotFound
from twotower.features import Float32, Int64
from twotower.model import top_k
from twotower.release import Product


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
        self._towers = towers
        self._release_id = release_id
        self._index = {product_id: index for index, product_id in enumerate(self.product_ids)}

    def __len__(self) -> int:
        return len(self.products)

    def index_of(self, product_id: str) -> int:
        """Row of a product.

        Raises:
            NotFound: naming the product.
        """
        index = self._index.get(product_id)
        if index is None:
            raise NotFound(f"product {product_id!r} is not in release {self._release_id}")
        return index

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
        cosines = self._directions @ self._directions[product]
        cosines[product] = -np.inf
        nearest = top_k(cosines[np.newaxis], min(k, len(self) - 1))[0] if len(self) > 1 else np.zeros(0, np.int64)
        return nearest, np.clip(cosines[nearest], -1, 1)

    @cached_property
    def _directions(self) -> Float32:
        """Towers of length 1; a zero tower stays zero."""
        towers = np.asarray(self._towers, np.float32)
        lengths = np.linalg.norm(towers, axis=1, keepdims=True)
        return (towers / np.where(lengths > 0, lengths, 1)).astype(np.float32)
