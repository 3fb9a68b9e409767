"""A Keras file made into a servable release."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.features.als import CONFIDENCE_PER_STAR, REGULARIZATION
from trainer.network.keras_graph import graph_weights
from trainer.network.tensorflow_runtime import load_tensorflow
from trainer.network.towers import score_pairs
from trainer.release.export import GOLDEN_TOLERANCE, golden_texts, replay_golden, write_keras
from twotower.als import ItemFactors, fold_in
from twotower.encoder import TextEncoder
from twotower.errors import FieldViolation, InvalidArgument, InvalidFile
from twotower.features import (
    ALS_DIM,
    ANONYMOUS_NAMES,
    BERT_DIM,
    Float32,
    dequantize,
    id_problem,
    product_rows,
    product_text,
    user_rows,
)
from twotower.model import as_rating, product_fusion, run_layers
from twotower.release import Golden, Manifest, Product, Release, activations_of, als_id
from twotower.release_writer import ReleaseWriter

_GOLDEN_USERS: Final = 14
_GOLDEN_STARS: Final = 5.0


@dataclass(frozen=True)
class ImportedFiles:
    """What belongs to a Keras file.

    Attributes:
        products: JSONL, one product a line: ``product_id name`` and, where known, ``brand categories manufacturer``.
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
    model: Path, files: ImportedFiles, out: Path, encoder_path: Path, on_progress: Callable[[int], None]
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
    texts = [product_text(item.name, item.brand, item.categories, item.manufacturer) for item in products]
    vectors = encoder.encode(texts, on_progress).fixed_point
    space = ItemFactors(factors, files.regularization, files.confidence_per_star)
    rows = product_rows(factors, dequantize(vectors))
    towers = run_layers(weights.product_tower, rows)
    with ReleaseWriter(out) as writer:
        write_keras(writer, network)
        writer.weights(weights)
        writer.array("product_towers.npy", towers)
        writer.array("product_fusion.npy", product_fusion(weights, towers))
        writer.array("item_factors.npy", factors)
        writer.array("als_gram.npy", space.gram)
        writer.array("global_mean.npy", mean)
        writer.catalogue(products)
        writer.golden(_golden(network, space, mean, rows))
        replayed, fixed_point = golden_texts(texts, vectors)
        writer.json("golden/texts.json", replayed)
        writer.array("golden/text_fixed_point.npy", fixed_point)
        _no_users(writer)
        writer.encoder(encoder_path, encoder.encoder_id)
        release = writer.commit(
            Manifest(
                preset="imported",
                encoder_id=encoder.encoder_id,
                als_id=als_id(space, [product.product_id for product in products]),
                product_count=len(products),
                regularization=space.regularization,
                confidence_per_star=space.confidence_per_star,
                anonymous_names=ANONYMOUS_NAMES,
                activations=activations_of(weights),
                scoring={"kind": "rating"},
                golden_tolerance=GOLDEN_TOLERANCE,
                metrics={"trainable_parameters": int(network.count_params())},
                dataset={},
                versions={
                    name: version(name)
                    for name in ("twotower", "numpy", "tensorflow", "keras", "openvino", "tokenizers")
                },
            )
        )
    replay_golden(release)
    return release


def _load(model: Path) -> Any:
    load_tensorflow()
    import keras

    if not model.is_file():
        raise InvalidFile(model, [FieldViolation("file", "no such file")])
    try:
        # Safe mode: a file that would run code of its own is refused.
        return keras.saving.load_model(model, compile=False, safe_mode=True)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise InvalidFile(
            model, [FieldViolation("file", f"must be a Keras 3 file without code of its own: {error}"[:400])]
        ) from error


def _products(path: Path) -> list[Product]:
    products, problems = [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFile(path, [FieldViolation("file", f"must be readable UTF-8: {error}")]) from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            product_id, name = str(row["product_id"]), str(row["name"])
        except (ValueError, KeyError, TypeError):
            problems.append(FieldViolation(f"line {number}", "must be a JSON object with product_id and name"))
            continue
        if problem := id_problem(product_id):
            problems.append(FieldViolation(f"line {number}: product_id", problem))
        brand, categories, manufacturer = (str(row.get(key) or "") for key in ("brand", "categories", "manufacturer"))
        figures = int(row.get("review_count") or 0), float(row.get("mean_rating") or 0.0)
        products.append(Product(product_id, name, brand, categories, manufacturer, *figures))
    if len({product.product_id for product in products}) != len(products):
        problems.append(FieldViolation("product_id", "must be unique"))
    if problems or not products:
        raise InvalidFile(path, problems[:20] or [FieldViolation("lines", "must be at least 1, got 0")])
    return products


def _array(path: Path | None, shape: tuple[int, ...]) -> Float32:
    assert path is not None
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InvalidFile(path, [FieldViolation("file", f"must be a .npy array: {error}")]) from error
    if array.shape != shape or not np.isfinite(array).all():
        raise InvalidFile(path, [FieldViolation("array", f"must be finite and of shape {shape}, got {array.shape}")])
    return array.astype(np.float32)


def _golden(network: Any, space: ItemFactors, mean: Float32, products: Float32) -> Golden:
    """A cold and an anonymous user, and users of one review each."""
    count = len(products)
    reviewed = np.unique(np.linspace(0, count - 1, _GOLDEN_USERS).astype(int))
    als = fold_in(space, [{}, {}, *({int(product): _GOLDEN_STARS} for product in reviewed)])
    bert = np.concatenate([[mean, mean], products[reviewed, ALS_DIM:]])
    users = user_rows(als, bert.astype(np.float32), np.arange(len(als)) == 1)
    indices = np.tile(np.arange(count)[:64], (len(users), 1)).astype(np.int64)
    width = indices.shape[1]
    scores = score_pairs(network, np.repeat(users, width, axis=0), products[indices.reshape(-1)]).reshape(indices.shape)
    return Golden(users, indices, scores, as_rating(scores))


def _no_users(writer: ReleaseWriter) -> None:
    for name in ("user_ids", "review_ids"):
        writer.path(f"users/{name}.jsonl").write_text("", encoding="utf-8")
    empty = {"products": np.int32, "ratings": np.float32, "times_us": np.int64}
    writer.array("users/review_offsets.npy", np.zeros(1, np.int64))
    for name, dtype in empty.items():
        writer.array(f"users/{name}.npy", np.zeros(0, dtype))
    writer.array("users/fixed_point.npy", np.zeros((0, BERT_DIM), np.int16))
    writer.array("users/als.npy", np.zeros((0, ALS_DIM), np.float32))
