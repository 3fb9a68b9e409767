"""Products that were not in the training data: encoded from their text, given a tower, and appended to what is
served.
"""

import asyncio
import base64
import json
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from typing import Final, Protocol

import numpy as np

from ranking_service.release.catalogue import Catalogue
from ranking_service.release.popularity_snapshot import Snapshot
from ranking_service.release.registry import Registry
from ranking_service.release.served import Proposer, Scorer, ServedRelease
from ranking_service.upstream.embedding_client import FeaturesUnavailable
from twotower.errors import EmbeddingUnavailable, InvalidArgument, SpaceMismatch
from twotower.features import (
    ALS_DIM,
    BERT_DIM,
    Float32,
    Int16,
    Int64,
    cold_rows,
    dequantize,
    product_rows,
    product_text,
    quantize,
)
from twotower.model import TwoTowerWeights, product_fusion, run_layers, score_catalogue
from twotower.release import Product
from twotower.scoring import POPULARITY_FLOOR, LiftScoring, Scoring
from twotower.v1 import embedding_service_pb2
from twotower.wire import fixed_point_from_bytes, fixed_point_to_bytes, from_vector

_LOG = logging.getLogger(__name__)

FILE: Final = "added_products.jsonl"
"""Beside the releases, one product a line."""


class TextSource(Protocol):
    """Where embeddings of texts come from; :class:`ranking_service.upstream.embedding_client.FeatureClient` is one."""

    async def encode(self, texts: Sequence[str]) -> embedding_service_pb2.EncodeTextsResponse:
        """One embedding a text; raises FeaturesUnavailable."""


@dataclass(frozen=True)
class AddedProduct:
    """A product with the embedding of its text.

    Attributes:
        product_id, name, brand, categories, manufacturer: as in the catalogue.
        release_id: the stable release when it was added; another release that has the product supersedes it.
        encoder_id: the space of `embedding`.
        embedding: base64 of 384 × int16 fixed point.
    """

    product_id: str
    name: str
    brand: str
    categories: str
    manufacturer: str
    release_id: str
    encoder_id: str
    embedding: str

    @property
    def fixed_point(self) -> Int16:
        """(384,) int16."""
        return fixed_point_from_bytes(base64.b64decode(self.embedding), "embedding")


class AddedProducts:
    """The added products, kept beside the releases.

    Args:
        registry: where the file is.
        texts: encodes.
        executor: for the file.
    """

    def __init__(self, registry: Registry, texts: TextSource, executor: Executor) -> None:
        self._registry = registry
        self._texts = texts
        self._executor = executor
        self._read: bytes | None = b""

    def fit(self, served: ServedRelease) -> ServedRelease:
        """The release with all that was added to it; reads the file."""
        return extended(served.base or served, _parse(self._registry.read(FILE)))

    async def changed(self) -> bool:
        """Whether the file is another than when this was asked last."""
        data = await asyncio.get_running_loop().run_in_executor(self._executor, self._registry.read, FILE)
        was, self._read = self._read, data
        return was != data

    async def add(self, products: Sequence[Product], served: ServedRelease) -> None:
        """Encode products and write them down; :meth:`fit` serves them.

        Args:
            products: each id once.
            served: the release to add them to.

        Raises:
            EmbeddingUnavailable: they can't be encoded now.
            SpaceMismatch: the embedding service uses another encoder.
            ReleaseInvalid: the file can't be written.
        """
        texts = [
            product_text(product.name, product.brand, product.categories, product.manufacturer) for product in products
        ]
        try:
            response = await self._texts.encode(texts)
        except FeaturesUnavailable as error:
            raise EmbeddingUnavailable(f"the products can't be encoded: {error}") from error
        encoder_id = served.space.encoder_id
        if response.encoder_id != encoder_id:
            raise SpaceMismatch(
                f"the embedding service encodes with {response.encoder_id!r}, release {served.release_id} "
                f"needs {encoder_id!r}"
            )
        added = []
        for index, (product, answer) in enumerate(zip(products, response.embeddings, strict=True)):
            fixed_point = quantize(from_vector(answer.embedding, BERT_DIM, f"embeddings[{index}]"))
            embedding = base64.b64encode(fixed_point_to_bytes(fixed_point)).decode()
            fields = (product.product_id, product.name, product.brand, product.categories, product.manufacturer)
            added.append(AddedProduct(*fields, served.release_id, encoder_id, embedding))
        await asyncio.get_running_loop().run_in_executor(self._executor, self._merge, added)

    def _merge(self, added: Sequence[AddedProduct]) -> None:
        """A product keeps its place in the file, so that rows of the catalogue stay what they are."""
        with self._registry.locked(FILE):
            entries = {entry.product_id: entry for entry in _parse(self._registry.read(FILE))}
            entries.update({entry.product_id: entry for entry in added})
            lines = (json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries.values())
            self._registry.write(FILE, "".join(lines).encode())


def _parse(data: bytes | None) -> list[AddedProduct]:
    """The entries of the file; lines that are none are left out and logged."""
    entries = []
    for number, line in enumerate((data or b"").decode(errors="replace").splitlines(), 1):
        try:
            entry = AddedProduct(**json.loads(line))
            _ = entry.fixed_point
        except (ValueError, TypeError, InvalidArgument) as error:
            _LOG.warning("%s: line %d is left out: %s", FILE, number, error)
        else:
            entries.append(entry)
    return entries


@dataclass(frozen=True, eq=False)
class _ExtendedScorer:
    """A scorer with more columns: those of the release as they are, the added ones from the numpy reference.

    The compiled head keeps its shape, so that adding a product compiles nothing; an added product costs about 4 µs a
    batch of one.
    """

    base: Scorer
    weights: TwoTowerWeights
    fusion: Float32
    columns: Int64
    product_count: int

    def warm_up(self) -> None:
        """The base is warm."""

    def __call__(self, user_rows: Float32) -> Float32:
        return self.extended(self.base(user_rows), user_rows)

    def extended(self, known: Float32, user_rows: Float32) -> Float32:
        """Scores of the release's products with those of the added ones."""
        scores = np.empty((len(user_rows), self.product_count), np.float32)
        scores[:, : known.shape[1]] = known
        scores[:, self.columns] = score_catalogue(self.weights, user_rows, self.fusion)
        return scores


@dataclass(frozen=True, eq=False)
class _ExtendedProposer:
    """Candidates of the release, and all added products."""

    base: Proposer
    scorer: _ExtendedScorer

    @property
    def largest_k(self) -> int:
        return self.base.largest_k

    @property
    def most_hidden(self) -> int:
        return self.base.most_hidden

    def __call__(self, user_rows: Float32, popularity: Snapshot) -> Float32:
        return self.scorer.extended(self.base(user_rows, popularity), user_rows)


def extended(base: ServedRelease, entries: Sequence[AddedProduct]) -> ServedRelease:
    """A release with added products.

    A product that the release has is left out if it was added to another release: the release supersedes it. If it was
    added to this one, its row gets the new text; its ALS vector and counts stay.
    """
    catalogue = base.catalogue
    fitting = [entry for entry in entries if entry.product_id not in catalogue or entry.release_id == base.release_id]
    other = [entry for entry in fitting if entry.encoder_id != base.space.encoder_id]
    if other:
        _LOG.warning(
            "%d added products are of another encoder than release %s's: add them again", len(other), base.release_id
        )
    fitting = [entry for entry in fitting if entry.encoder_id == base.space.encoder_id]
    if not fitting:
        return base
    new_ids = [entry.product_id for entry in fitting if entry.product_id not in catalogue]
    new_rows = {product_id: len(catalogue) + place for place, product_id in enumerate(new_ids)}
    columns = np.array([new_rows.get(entry.product_id, catalogue.row(entry.product_id)) for entry in fitting], np.int64)
    count = len(catalogue) + len(new_ids)
    als = np.zeros((len(fitting), ALS_DIM), np.float32)
    known = columns < len(catalogue)
    als[known] = base.item_factors[columns[known]]
    rows = product_rows(als, dequantize(np.stack([entry.fixed_point for entry in fitting])))
    added_towers = run_layers(base.weights.product_tower, rows)
    towers = np.concatenate([base.catalogue.towers, np.zeros((len(new_ids), added_towers.shape[1]), np.float32)])
    towers[columns] = added_towers
    fusion = product_fusion(base.weights, added_towers)
    scorer = _ExtendedScorer(base.scorer, base.weights, fusion, columns, count)
    return replace(
        base,
        base=base,
        catalogue=Catalogue(_products(catalogue, fitting, columns.tolist()), towers, base.release_id),
        scorer=scorer,
        proposer=base.proposer and _ExtendedProposer(base.proposer, scorer),
        scoring=_scoring(base, fusion, columns, count),
    )


def _products(catalogue: Catalogue, entries: Sequence[AddedProduct], columns: Sequence[int]) -> list[Product]:
    products = list(catalogue.products)
    for entry, column in zip(entries, columns, strict=True):
        known = column < len(catalogue)
        counts = (
            (catalogue.products[column].review_count, catalogue.products[column].mean_rating) if known else (0, 0.0)
        )
        product = Product(entry.product_id, entry.name, entry.brand, entry.categories, entry.manufacturer, *counts)
        if known:
            products[column] = product
        else:
            products.append(product)
    return products


def _scoring(base: ServedRelease, fusion: Float32, columns: Int64, count: int) -> Scoring:
    scoring = base.scoring
    if not isinstance(scoring, LiftScoring):
        return scoring
    more = count - len(scoring.cold_scores)
    cold_scores = np.pad(scoring.cold_scores, (0, more))
    cold_scores[columns] = score_catalogue(base.weights, cold_rows(base.global_mean), fusion)[0]
    return replace(
        scoring,
        cold_scores=cold_scores,
        rating_base=np.pad(scoring.rating_base, (0, more), constant_values=scoring.prior_mean),
        log_popularity=np.pad(scoring.log_popularity, (0, more), constant_values=np.log(POPULARITY_FLOOR)),
    )
