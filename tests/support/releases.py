"""A small release with random weights in the contracted shapes, for tests that need no training."""

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from twotower.als import ItemFactors
from twotower.encoder import CONFIG, MODEL_BIN, MODEL_XML, TOKENIZER, TextEncoder, encoder_id
from twotower.features import (
    ALS_DIM,
    BERT_DIM,
    PRODUCT_DIM,
    TOWER_DIM,
    USER_DIM,
    Float32,
    cold_rows,
    product_rows,
    user_rows,
)
from twotower.model import Activation, Dense, TwoTowerWeights, product_fusion, run_layers, score_catalogue
from twotower.release import Golden, Product, Release
from twotower.release_writer import ReleaseContents, ReleaseWriter
from twotower.scoring import LiftScoring, RatingScoring, Scoring, log_popularity

GOLDEN_REQUESTS: Final = 8
PRIOR_MEAN: Final = 3.5
"""The mean towards which a release that scores by lift shrinks its item means."""
GOLDEN_TEXTS: Final = (
    "Great sound Would buy again",
    "No Title No Review",
    "Broke The cable broke after a week of use.",
)


def write_random_release(
    root: Path,
    *,
    products: int = 50,
    seed: int = 0,
    activation: Activation = "elu",
    encoder: Path | None = None,
    encoder_seed: int = 0,
    lift: bool = False,
    signing_key: Ed25519PrivateKey | None = None,
    **manifest: Any,
) -> Release:
    """Write a release that verifies and whose golden answers are the numpy reference's.

    Args:
        root: the folder of releases.
        products: size of the catalogue; the ids are `product_id(0)` to `product_id(products - 1)`.
        seed: of every random number; equal arguments give the same release id.
        activation: of every layer but the last, which is linear.
        encoder: a real encoder folder; placeholder files if None, and then no golden texts.
        signing_key: signs the manifest if given.
        encoder_seed: placeholders of another seed have another encoder id.
        lift: score by lift and popularity; by rating if False.
        manifest: fields of the manifest that replace the defaults.
    """
    rng = np.random.default_rng(seed)
    weights = random_weights(rng, activation)
    factors = rng.normal(0, 0.1, (products, ALS_DIM)).astype(np.float32)
    factors[products // 2 :: 7] = 0  # no review in the training period
    rows = product_rows(factors, unit_vectors(rng, products))
    fusion = product_fusion(weights, run_layers(weights.product_tower, rows))
    global_mean = unit_vectors(rng, 1)[0] * np.float32(0.6)
    space = ItemFactors(factors, regularization=0.01, confidence_per_star=8.0)
    catalogue = [random_product(rng, index) for index in range(products)]
    scoring = (
        _lift(rng, catalogue, score_catalogue(weights, cold_rows(global_mean), fusion)[0]) if lift else RatingScoring()
    )
    with ReleaseWriter(root, signing_key=signing_key) as writer, tempfile.TemporaryDirectory() as scratch:
        source = encoder or _placeholder_encoder(Path(scratch), encoder_seed)
        texts = list(GOLDEN_TEXTS) if encoder else []
        embedded = (
            TextEncoder(encoder, threads=1).encode(texts).fixed_point if encoder else np.zeros((0, BERT_DIM), np.int16)
        )
        contents = ReleaseContents(
            preset="random",
            weights=weights,
            space=space,
            global_mean=global_mean,
            catalogue=catalogue,
            product_rows=rows,
            scoring=scoring,
            golden=_golden(rng, weights, fusion, global_mean, scoring),
            golden_tolerance=1e-4,
            encoder_path=source,
            encoder_id=encoder_id(source),
            golden_texts=(texts, embedded),
        )
        writer.write(contents)
        return writer.commit(replace(contents.manifest(), **manifest))


def product_id(index: int) -> str:
    """Id of the product in row `index` of the catalogue."""
    return f"product-{index:05d}"


def random_product(rng: np.random.Generator, index: int) -> Product:
    """A catalogue row; every fifth has no brand."""
    return Product(
        product_id=product_id(index),
        name=f"Product {index}",
        brand="" if index % 5 == 4 else f"Brand {index % 7}",
        categories="Electronics,Audio" if index % 2 else "Household",
        manufacturer=f"Maker {index % 3}",
        review_count=int(rng.integers(1, 1000)),
        mean_rating=round(float(rng.uniform(1, 5)), 3),
    )


def random_weights(rng: np.random.Generator, activation: Activation) -> TwoTowerWeights:
    """The contracted layers, variance-preserving, with outputs around the middle of the rating scale."""

    def tower(inputs: int) -> tuple[Dense, ...]:
        widths = (inputs, 256, 128, TOWER_DIM)
        return tuple(_dense(rng, a, b, activation) for a, b in pairwise(widths))

    last = _dense(rng, 32, 1, "linear")
    fusion = (
        _dense(rng, 2 * TOWER_DIM, 64, activation),
        _dense(rng, 64, 32, activation),
        Dense(last.kernel, last.bias + 3, "linear"),
    )
    return TwoTowerWeights(tower(USER_DIM), tower(PRODUCT_DIM), fusion)


def unit_vectors(rng: np.random.Generator, count: int) -> Float32:
    """(count, 384) float32 of Euclidean length 1."""
    vectors = rng.normal(size=(count, BERT_DIM))
    unit: Float32 = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def random_user_rows(rng: np.random.Generator, count: int) -> Float32:
    """(count, 449) float32: warm users with vectors of the sizes that real ones have."""
    return user_rows(
        rng.normal(0, 0.5, (count, ALS_DIM)).astype(np.float32), unit_vectors(rng, count) * np.float32(0.8), False
    )


def _dense(rng: np.random.Generator, inputs: int, units: int, activation: Activation) -> Dense:
    kernel = rng.normal(0, (2 / inputs) ** 0.5, (inputs, units)).astype(np.float32)
    return Dense(kernel, rng.normal(0, 0.1, units).astype(np.float32), activation)


def _lift(rng: np.random.Generator, catalogue: list[Product], cold_scores: Float32) -> LiftScoring:
    counts = np.array([product.review_count for product in catalogue], float)
    means = np.array([product.mean_rating for product in catalogue])
    base = ((counts * means + 10 * PRIOR_MEAN) / (counts + 10)).astype(np.float32)
    popularity = log_popularity(counts * rng.random(len(catalogue)))
    return LiftScoring(0.5, 0.3, 7.0, cold_scores, base, popularity, PRIOR_MEAN)


def _golden(
    rng: np.random.Generator, weights: TwoTowerWeights, fusion: Float32, global_mean: Float32, scoring: Scoring
) -> Golden:
    rows = random_user_rows(rng, GOLDEN_REQUESTS)
    rows[:2] = cold_rows(global_mean, [False, True])
    every = score_catalogue(weights, rows, fusion)
    indices = np.argsort(rng.random(every.shape), axis=1)[:, :20]
    scores, ratings = (
        np.take_along_axis(numbers, indices, axis=1) for numbers in (scoring.scores(every), scoring.ratings(every))
    )
    return Golden(rows, indices, scores, ratings)


class ReferenceScorer:
    """The numpy network of a release as a scorer, with an error added to every output."""

    def __init__(self, release: Release, error: float = 0.0) -> None:
        self._release, self._error = release, np.float32(error)
        self.warm = False

    def warm_up(self) -> None:
        """Remember it."""
        self.warm = True

    def __call__(self, user_rows: Float32) -> Float32:
        """(users, 449) → (users, products)."""
        return score_catalogue(self._release.weights, user_rows, self._release.product_fusion) + self._error


def _placeholder_encoder(directory: Path, seed: int) -> Path:
    for name in (MODEL_XML, MODEL_BIN, TOKENIZER):
        (directory / name).write_bytes(f"placeholder of {name}{seed or ''}".encode())
    (directory / CONFIG).write_text('{"model": "placeholder", "max_tokens": 256}', encoding="utf-8")
    return directory
