"""Products that were not in the training data: encoded from their text, given a tower, and added to what is served."""

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np

from ranking_service.release.catalogue import Catalogue
from ranking_service.release.registry import Registry
from ranking_service.release.served import ServedRelease
from ranking_service.rollout.relatives import Introduction, inherited_factors
from twotower.errors import EmbeddingUnavailable, InvalidArgument, NotFound, SpaceMismatch
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
from twotower.model import product_fusion, run_layers, score_catalogue
from twotower.release import Product
from twotower.scoring import POPULARITY_FLOOR, LiftScoring, Scoring
from twotower.v1 import embedding_service_pb2
from twotower.wire import fixed_point_from_bytes, fixed_point_to_bytes, from_vector

_LOG = logging.getLogger(__name__)

FILE: Final = "added_products.jsonl"
"""Lies beside the releases, one product per line."""


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
        """The embedding, (384,) int16."""
        return fixed_point_from_bytes(base64.b64decode(self.embedding), "embedding")


class AddedProducts:
    """The added products, in a file beside the releases.

    Args:
        registry: where the file is.
        encode: embeds texts; raises EmbeddingUnavailable.
        executor: reads and writes the file.
    """

    def __init__(
        self,
        registry: Registry,
        encode: Callable[[Sequence[str]], Awaitable[embedding_service_pb2.EncodeTextsResponse]],
        executor: Executor,
    ) -> None:
        self._registry = registry
        self._encode = encode
        self._executor = executor
        self._last_read: bytes | None = b""

    def fit(self, served: ServedRelease) -> ServedRelease:
        """Read the file, and return the release with all products that were added to it."""
        return extended(served.base or served, _parse(self._registry.read(FILE)), served.inherited)

    async def changed(self) -> bool:
        """Whether the file has changed since this was last asked."""
        data = await asyncio.get_running_loop().run_in_executor(self._executor, self._registry.read, FILE)
        before, self._last_read = self._last_read, data
        return before != data

    async def add(self, products: Sequence[Product], served: ServedRelease) -> None:
        """Encode products and write them to the file; :meth:`fit` serves them.

        Args:
            products: each id once.
            served: the release to add them to.

        Raises:
            EmbeddingUnavailable: the products can't be encoded now.
            SpaceMismatch: the embedding service uses another encoder.
            ReleaseInvalid: the file can't be written.
        """
        texts = [
            product_text(product.name, product.brand, product.categories, product.manufacturer) for product in products
        ]
        try:
            response = await self._encode(texts)
        except EmbeddingUnavailable as error:
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
        """Write products to the file; one that is there keeps its place, and so its row of the catalogue."""
        with self._registry.locked(FILE):
            entries = {entry.product_id: entry for entry in _parse(self._registry.read(FILE))}
            entries.update({entry.product_id: entry for entry in added})
            self._write(entries.values())

    def _write(self, entries: Iterable[AddedProduct]) -> None:
        lines = (json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
        self._registry.write(FILE, "".join(lines).encode())

    async def list(self) -> list[AddedProduct]:
        """List the added products, in the order in which they were added."""
        data = await asyncio.get_running_loop().run_in_executor(self._executor, self._registry.read, FILE)
        return _parse(data)

    async def remove(self, product_ids: Sequence[str]) -> None:
        """Take products out of the file, all or none; :meth:`fit` serves the others.

        Raises:
            NotFound: naming a product that was not added.
            ReleaseInvalid: the file can't be written.
        """
        await asyncio.get_running_loop().run_in_executor(self._executor, self._drop, product_ids)

    def _drop(self, product_ids: Sequence[str]) -> None:
        with self._registry.locked(FILE):
            entries = {entry.product_id: entry for entry in _parse(self._registry.read(FILE))}
            for product_id in product_ids:
                if entries.pop(product_id, None) is None:
                    raise NotFound(f"product {product_id!r} was not upserted")
            self._write(entries.values())


def _parse(data: bytes | None) -> list[AddedProduct]:
    """Parse the entries of the file; a line that is none is left out and logged."""
    entries = []
    for number, line in enumerate((data or b"").decode(errors="replace").split("\n"), 1):
        if not line:  # behind the last line
            continue
        try:
            entry = AddedProduct(**json.loads(line))
            _ = entry.fixed_point
        except (ValueError, TypeError, InvalidArgument) as error:
            _LOG.warning("%s: line %d is left out: %s", FILE, number, error)
        else:
            entries.append(entry)
    return entries


def extended(base: ServedRelease, entries: Sequence[AddedProduct], inherited: Mapping[str, Float32]) -> ServedRelease:
    """Return a release with added products.

    If the release has a product already, its row gets the new text; its ALS vector and counts stay. A new one inherits
    an ALS vector from the products that are like it, and under `lift` scoring it is introduced to the users who know
    those. The compiled head keeps its shape, so that adding a product compiles nothing: the added columns come from the
    numpy reference, at about 4 µs per product for a batch of one.

    Args:
        base: the release as it is on disk.
        entries: the products.
        inherited: what products inherited when they were added to the same release before.
    """
    catalogue = base.catalogue
    fitting = _fitting(base, entries)
    if not fitting:
        return base
    new_ids = [entry.product_id for entry in fitting if entry.product_id not in catalogue]
    new_rows = {product_id: row for row, product_id in enumerate(new_ids, len(catalogue))}
    columns = np.array([new_rows.get(entry.product_id, catalogue.row(entry.product_id)) for entry in fitting], np.int64)
    count = len(catalogue) + len(new_ids)
    als = np.zeros((len(fitting), ALS_DIM), np.float32)
    trained = columns < len(catalogue)
    als[trained] = base.item_factors[columns[trained]]
    texts = dequantize(np.stack([entry.fixed_point for entry in fitting]))
    new = np.flatnonzero(~trained).tolist()
    inherited = _inherited(base, {fitting[row].embedding: texts[row] for row in new}, inherited)
    for row in new:
        als[row] = inherited[fitting[row].embedding]
    rows = product_rows(als, texts)
    added_towers = run_layers(base.weights.product_tower, rows)
    towers = np.concatenate([base.catalogue.towers, np.zeros((len(new_ids), added_towers.shape[1]), np.float32)])
    towers[columns] = added_towers
    fusion = product_fusion(base.weights, added_towers)
    proposer = base.proposer
    introduction = None
    if isinstance(base.scoring, LiftScoring):
        introduction = Introduction.of(base.scoring, np.where(trained[:, np.newaxis], np.float32(0), als))

    def extend(network: Float32, rows: Float32) -> Float32:
        """Put the columns of the added products beside those of the release, or in their place."""
        output = np.empty((len(rows), count), np.float32)
        output[:, : network.shape[1]] = network
        added = score_catalogue(base.weights, rows, fusion)
        output[:, columns] = added if introduction is None else added + introduction(rows)
        return output

    return replace(
        base,
        base=base,
        catalogue=Catalogue(_products(catalogue, fitting, columns.tolist()), towers, base.release_id),
        scorer=lambda rows: extend(base.scorer(rows), rows),
        proposer=proposer
        and replace(proposer, propose=lambda rows, popularity: extend(proposer.propose(rows, popularity), rows)),
        scoring=_scoring(base, fusion, columns, count),
        inherited=inherited,
    )


def _inherited(
    base: ServedRelease, texts: Mapping[str, Float32], before: Mapping[str, Float32]
) -> Mapping[str, Float32]:
    """What products inherit, by their embedding; only what was not made before is made."""
    missing = [embedding for embedding in texts if embedding not in before]
    made = np.zeros((len(missing), ALS_DIM), np.float32)
    if missing and base.product_texts is not None:
        new_texts = np.stack([texts[embedding] for embedding in missing])
        made = inherited_factors(base.product_texts, base.item_factors, new_texts)
    known = {**before, **dict(zip(missing, made, strict=True))}
    return {embedding: known[embedding] for embedding in texts}


def is_served(entry: AddedProduct, served: ServedRelease) -> bool:
    """Whether a release serves this entry, and not a product or a text of its own."""
    base = served.base or served
    if entry.product_id in base.catalogue and entry.release_id != base.release_id:
        return False
    return entry.encoder_id == base.space.encoder_id


def _fitting(base: ServedRelease, entries: Sequence[AddedProduct]) -> list[AddedProduct]:
    """Leave out products of another encoder, and those that the release has but that were added to another one."""
    fitting = [
        entry for entry in entries if entry.product_id not in base.catalogue or entry.release_id == base.release_id
    ]
    encoded = [entry for entry in fitting if entry.encoder_id == base.space.encoder_id]
    if left_out := len(fitting) - len(encoded):
        _LOG.warning(
            "%d added products are of another encoder than release %s's: add them again", left_out, base.release_id
        )
    return encoded


def _products(catalogue: Catalogue, entries: Sequence[AddedProduct], columns: Sequence[int]) -> list[Product]:
    products = list(catalogue.products)
    for entry, column in zip(entries, columns, strict=True):
        old = catalogue.products[column] if column < len(catalogue) else None
        counts = (old.review_count, old.mean_rating) if old else (0, 0.0)
        product = Product(entry.product_id, entry.name, entry.brand, entry.categories, entry.manufacturer, *counts)
        if old:
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
    # A product of which nothing else is known has the popularity of new products, until it is counted more often.
    new_floor = POPULARITY_FLOOR + scoring.new_product_share
    floor = np.broadcast_to(scoring.popularity_floor, scoring.log_popularity.shape)
    return replace(
        scoring,
        cold_scores=cold_scores,
        rating_base=np.pad(scoring.rating_base, (0, more), constant_values=scoring.prior_mean),
        log_popularity=np.pad(scoring.log_popularity, (0, more), constant_values=np.log(new_floor)),
        popularity_floor=np.pad(floor, (0, more), constant_values=new_floor),
    )
