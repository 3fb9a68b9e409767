"""From a review file to a release: ours against the notebook's way of doing each stage, in one run.

The notebook embeds the review and the product text of every row of the table that negatives have expanded (four rows
per review), draws negatives in a loop over the rows, and trains on materialised arrays at batch 32. Each of its stages
is measured on a slice and scaled to the whole file; the slices are printed. Ours with a warm cache is measured whole;
its encoding with a cold cache is measured on a slice and scaled. The notebook's plots and its reading of the file are
not measured.

The last line is JSON: `vs_notebook`, how many times faster ours is with a cold cache, `vs_notebook_warm` with a warm
one; `seconds_cold` and `seconds_warm` of ours.
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import rig, rival_sentence_transformers
from trainer.data.cleaning import CleaningOptions
from trainer.network.presets import PRESETS
from trainer.network.towers import build_network
from trainer.pipeline import TrainingOptions, TrainingResult, train
from trainer.progress import Progress
from twotower.encoder import TextEncoder
from twotower.features import product_text, review_text

TEXT_SLICE: Final = 256
NEGATIVE_SLICE: Final = 1000
SAMPLE_SLICE: Final = 6000


def main() -> None:
    """Train twice, measure the notebook's stages on the same data, and print."""
    with tempfile.TemporaryDirectory() as folder:
        reviews = rig.review_file()
        _train(reviews, Path(folder))  # fills the cache where it is cold
        result, stages = _train(reviews, Path(folder))
        distinct = list(dict.fromkeys(_review_texts(result)))
        texts = len(distinct) + len(result.release.catalogue)
        cold_encoding = _encoding_s(result, distinct) * texts / TEXT_SLICE
        count = len(result.reviews)
        notebook = {
            "embed every row twice": _notebook_embedding_s(result) * 8 * count / TEXT_SLICE,
            "negatives row by row": _notebook_negatives_s(result) * count / NEGATIVE_SLICE,
            "ten epochs at batch 32": _notebook_epoch_s(result) * 10 * len(result.inputs.training) / SAMPLE_SLICE,
        }
    rival, warm = sum(notebook.values()), sum(stages.values())
    cold = warm - stages["encode texts"] + cold_encoding
    rig.print_machine("openvino", "tensorflow", "sentence-transformers")
    print(f"{count:,} reviews, {len(distinct):,} distinct texts")
    for name, seconds in stages.items():
        print(f"ours      {name:<24} {seconds:9.1f} s")
    print(f"ours      encode texts, cold cache {cold_encoding:9.1f} s (from {TEXT_SLICE} texts of {texts:,}, scaled)")
    for name, seconds in notebook.items():
        print(f"notebook  {name:<24} {seconds:9.1f} s (scaled)")
    print(f"slices of the notebook: {TEXT_SLICE} texts, {NEGATIVE_SLICE} reviews, {SAMPLE_SLICE} samples")
    print(f"ratio     cold cache {rival / cold:.1f}x, warm cache {rival / warm:.1f}x")
    rig.print_json(vs_notebook=rival / cold, seconds_cold=cold, seconds_warm=warm, vs_notebook_warm=rival / warm)


def _train(reviews: Path, releases: Path) -> tuple[TrainingResult, dict[str, float]]:
    """A release of `v5_power`, and the seconds of each stage."""
    progress = Progress()
    options = TrainingOptions(PRESETS["v5_power"], CleaningOptions())
    result = train(
        reviews, releases, options, encoder_path=rig.encoder_folder(), cache=rig.cache_folder(), progress=progress
    )
    return result, progress.seconds


def _review_texts(result: TrainingResult) -> list[str]:
    return [review_text(*pair) for pair in zip(result.reviews.titles, result.reviews.texts, strict=True)]


def _product_texts(result: TrainingResult) -> list[str]:
    return [
        product_text(item.name, item.brand, item.categories, item.manufacturer) for item in result.release.catalogue
    ]


def _encoding_s(result: TrainingResult, distinct: list[str]) -> float:
    """Our encoder on a slice of the distinct texts."""
    rows = np.random.default_rng(0).permutation(len(distinct))[:TEXT_SLICE]
    encoder = TextEncoder(rig.encoder_folder())
    encoder.encode(_product_texts(result)[:8])
    return rig.seconds_of(partial(encoder.encode, [distinct[row] for row in rows]))


def _notebook_embedding_s(result: TrainingResult) -> float:
    """sentence-transformers on rows of the expanded table, each with a review text and a product text."""
    rows = np.random.default_rng(1).integers(0, len(result.reviews), TEXT_SLICE // 2)
    reviews, products = _review_texts(result), _product_texts(result)
    texts = [reviews[row] for row in rows] + [products[result.reviews.product[row]] for row in rows]
    return rival_sentence_transformers.encode(texts)[0]


def _notebook_negatives_s(result: TrainingResult) -> float:
    """A loop that draws three products for each row of the slice."""
    reviews = result.reviews
    counts = np.bincount(reviews.product).astype(np.float64)
    seen: dict[int, set[int]] = {}
    for user, product in zip(reviews.user.tolist(), reviews.product.tolist(), strict=True):
        seen.setdefault(user, set()).add(product)
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for user in reviews.user[:NEGATIVE_SLICE].tolist():
        allowed = [product for product in range(len(counts)) if product not in seen[user]]
        weights = counts[allowed] / counts[allowed].sum()
        rng.choice(allowed, 3, replace=False, p=weights)
    return time.perf_counter() - start


def _notebook_epoch_s(result: TrainingResult) -> float:
    """An epoch of `model.fit` on the slice: materialised arrays, batch 32."""
    network = build_network(PRESETS["v5_power"])
    samples, tables = result.inputs.training, result.inputs.tables
    users, products = tables.users[samples.state[:SAMPLE_SLICE]], tables.products[samples.product[:SAMPLE_SLICE]]
    arrays = [users[:, :64], users[:, 64:448], users[:, 448:], products[:, :64], products[:, 64:]]
    network.compile("adam", "mse")
    network.fit([array[:64] for array in arrays], samples.label[:64], batch_size=32, verbose=0)
    return rig.seconds_of(partial(network.fit, arrays, samples.label[:SAMPLE_SLICE], batch_size=32, verbose=0))


if __name__ == "__main__":
    main()
