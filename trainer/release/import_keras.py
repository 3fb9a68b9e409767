"""A Keras file made into a servable release."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.files import inspect_text
from trainer.data.records import records
from trainer.data.values import text_of, without_markup
from trainer.features.als import CONFIDENCE_PER_STAR, REGULARIZATION
from trainer.network.keras_graph import graph_weights
from trainer.network.tensorflow_runtime import load_tensorflow
from trainer.release.export import library_versions, replay_golden, write_keras
from trainer.release.golden import GOLDEN_TOLERANCE, golden_requests, golden_texts, golden_users
from trainer.release.keras_file import check_keras_file
from twotower.als import ItemFactors
from twotower.encoder import TextEncoder
from twotower.errors import FieldViolation, InvalidArgument, InvalidFile
from twotower.features import (
    ALS_DIM,
    BERT_DIM,
    MAX_RATING,
    Float32,
    dequantize,
    id_problem,
    product_rows,
    product_text,
)
from twotower.release import Golden, Product, Release
from twotower.release_writer import ReleaseContents, ReleaseWriter
from twotower.scoring import RatingScoring

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class ImportedFiles:
    """What belongs to a Keras file.

    Attributes:
        products: JSONL, one product per line: ``product_id name`` and, where known, ``brand categories manufacturer``.
        item_factors: ``.npy`` (products, 64), ALS factors in the order of the products.
        global_mean: ``.npy`` (384,), mean review embedding, what users without a history have.
        regularization: λ of the ALS fit.
        confidence_per_star: of the ALS fit.
    """

    products: Path
    item_factors: Path | None
    global_mean: Path | None
    regularization: float = REGULARIZATION
    confidence_per_star: float = CONFIDENCE_PER_STAR


def import_keras(
    model: Path,
    files: ImportedFiles,
    out: Path,
    encoder_path: Path,
    on_progress: Callable[[int], None],
    *,
    signing_key: "Ed25519PrivateKey | None" = None,
) -> Release:
    """Write a release of a Keras file under `out`; it knows no users.

    Raises:
        InvalidFile: the file is no Keras file, or one of the others does not fit.
        InvalidArgument: the network does not fit, or something that it was trained with is not given.
    """
    absent = [
        FieldViolation(name, f"is needed: {what}")
        for name, path, what in (
            (
                "--item-factors",
                files.item_factors,
                "the (products, 64) ALS factors that the network was trained with, in the products' order",
            ),
            ("--global-mean", files.global_mean, "the (384,) mean review embedding that users without a history had"),
        )
        if path is None
    ]
    if absent:
        raise InvalidArgument(absent)
    network = _load(model)
    weights = graph_weights(network)
    products = _products(files.products)
    factors = _array(files.item_factors, (len(products), ALS_DIM))
    mean = _array(files.global_mean, (BERT_DIM,))
    encoder = TextEncoder(encoder_path)
    replayed = golden_texts()
    texts = [product_text(item.name, item.brand, item.categories, item.manufacturer) for item in products]
    encoded = encoder.encode([*texts, *replayed], on_progress).fixed_point
    vectors = encoded[: len(texts)]
    space = ItemFactors(factors, files.regularization, files.confidence_per_star)
    rows = product_rows(factors, dequantize(vectors))
    scoring = RatingScoring()
    golden = golden_requests(network, golden_users(space, mean, rows), rows, scoring)
    contents = ReleaseContents(
        preset="imported",
        weights=weights,
        space=space,
        global_mean=mean,
        catalogue=products,
        product_rows=rows,
        scoring=scoring,
        golden=golden,
        golden_tolerance=golden_bound(golden),
        encoder_path=encoder_path,
        encoder_id=encoder.encoder_id,
        golden_texts=(replayed, encoded[len(texts) :]),
        metrics={"trainable_parameters": int(network.count_params())},
        versions=library_versions(),
    )
    with ReleaseWriter(out, signing_key=signing_key) as writer:
        writer.write(contents)
        write_keras(writer, network)
        release = writer.commit(contents.manifest())
        replay_golden(release)
        return release


def golden_bound(golden: Golden) -> float:
    """Allowed difference of the golden scores: a share of their size, as of five stars, and absolute for smaller ones.

    Raises:
        InvalidArgument: a score is not finite.
    """
    if not np.isfinite(golden.scores).all():
        raise InvalidArgument([FieldViolation("network", "must answer with finite numbers on users and products")])
    return GOLDEN_TOLERANCE * max(1.0, float(np.abs(golden.scores).max()) / MAX_RATING)


def _load(model: Path) -> Any:
    if not model.is_file():
        raise InvalidFile(model, [FieldViolation("file", "no such file")])
    check_keras_file(model)
    load_tensorflow()
    import keras

    try:
        # Safe mode: a file that would run code of its own is refused.
        return keras.saving.load_model(model, compile=False, safe_mode=True)
    except (ValueError, OSError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InvalidFile(
            model, [FieldViolation("file", f"must be a Keras 3 file without code of its own: {error}"[:400])]
        ) from error


def _products(path: Path) -> list[Product]:
    products, problems = [], []
    for number, row in records(inspect_text(path)):
        try:
            products.append(_product(row))
        except InvalidArgument as error:
            problems += [
                FieldViolation(f"line {number}{name and ': '}{name}", description)
                for name, description in ((item.field, item.description) for item in error.violations)
            ]
    if len({product.product_id for product in products}) != len(products):
        problems.append(FieldViolation("product_id", "must be unique"))
    if problems or not products:
        raise InvalidFile(path, problems[:20] or [FieldViolation("lines", "must be at least 1, got 0")])
    return products


def _product(row: Mapping[str, object] | str) -> Product:
    """A product of a record.

    Raises:
        InvalidArgument: naming the key.
    """
    if isinstance(row, str) or not {"product_id", "name"} <= row.keys():
        raise InvalidArgument([FieldViolation("", "must be a JSON object with product_id and name")])
    product_id, name, brand, categories, manufacturer = (
        without_markup(text_of(row.get(key))) if key != "product_id" else text_of(row.get(key)).strip()
        for key in ("product_id", "name", "brand", "categories", "manufacturer")
    )
    count, mean = _figure(row, "review_count"), _figure(row, "mean_rating")
    problems = [FieldViolation(key, problem) for key, problem in (("product_id", id_problem(product_id)),) if problem]
    problems += [
        FieldViolation(key, f"must be a {what}, got {row[key]!r}"[:200])
        for key, value, what in (
            ("review_count", count, "whole number from 0"),
            ("mean_rating", mean, "number from 0 to 5"),
        )
        if value is None
    ]
    if count is None or mean is None or problems:
        raise InvalidArgument(problems)
    return Product(product_id, name or product_id, brand, categories, manufacturer, int(count), mean)


def _figure(row: Mapping[str, object], key: str) -> float | None:
    """A number that a product may have: 0 where it is absent, None where it is none that it could be."""
    value = row.get(key)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**31:
        return None
    fits = value == int(value) if key == "review_count" else value <= MAX_RATING
    return float(value) if fits else None


def _array(path: Path | None, shape: tuple[int, ...]) -> Float32:
    assert path is not None
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InvalidFile(path, [FieldViolation("file", f"must be a .npy array: {error}")]) from error
    if array.shape != shape or not np.isfinite(array).all():
        raise InvalidFile(path, [FieldViolation("array", f"must be finite and of shape {shape}, got {array.shape}")])
    return array.astype(np.float32)
