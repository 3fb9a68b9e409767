"""From a review file to a release: ours against the notebook's way of doing each stage, in the same run.

The notebook embeds the review and the product text of every row of the table that negatives have expanded (four rows a
review), draws negatives in a loop over the rows, and trains on materialised arrays at batch 32. Each of its stages is
measured on a slice and scaled to the whole file; the slices are printed. Ours with a warm cache is measured whole; its
encoding with a cold cache is measured on a slice and scaled. What is not measured: the notebook's plots and its reading
of the file.
"""

import json
import subprocess
import sys
import tempfile
import time
from os import sched_getaffinity
from pathlib import Path

import numpy as np

from benchmarks.trainer_data import cache_folder, review_file
from trainer.data.cleaning import CleaningOptions
from trainer.encoding.export import bundled_model_path, cached_encoder
from trainer.network.presets import PRESETS
from trainer.network.towers import build_network
from trainer.pipeline import TrainingOptions, TrainingResult, train
from trainer.progress import Progress
from twotower.encoder import TextEncoder
from twotower.features import product_text, review_text

TEXT_SLICE = 256
NEGATIVE_SLICE = 1000
SAMPLE_SLICE = 6000

EMBED = """
import json, sys, time
from sentence_transformers import SentenceTransformer
texts = json.load(open(sys.argv[1]))
model = SentenceTransformer(sys.argv[2], device="cpu", local_files_only=True)
model.encode(texts[:32])
started = time.perf_counter()
model.encode(texts, show_progress_bar=False)
print(time.perf_counter() - started)
"""


def notebook_embedding(texts: list[str]) -> float:
    """Seconds of sentence-transformers for the slice."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts))
        done = subprocess.run(
            [sys.executable, "-c", EMBED, str(file), str(bundled_model_path())],
            check=True,
            capture_output=True,
            text=True,
        )
    return float(done.stdout.split()[-1])


def notebook_negatives(result: TrainingResult) -> float:
    """Seconds of a loop that draws three products for each row of the slice."""
    reviews = result.reviews
    counts = np.bincount(reviews.product).astype(np.float64)
    seen: dict[int, set[int]] = {}
    for user, product in zip(reviews.user.tolist(), reviews.product.tolist(), strict=True):
        seen.setdefault(user, set()).add(product)
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    for user in reviews.user[:NEGATIVE_SLICE].tolist():
        allowed = [product for product in range(len(counts)) if product not in seen[user]]
        weights = counts[allowed] / counts[allowed].sum()
        rng.choice(allowed, 3, replace=False, p=weights)
    return time.perf_counter() - started


def notebook_epoch(result: TrainingResult) -> float:
    """Seconds of an epoch of `model.fit` on the slice: materialised arrays, batch 32."""
    network = build_network(PRESETS["v5_power"])
    samples, tables = result.inputs.training, result.inputs.tables
    users, products = tables.users[samples.state[:SAMPLE_SLICE]], tables.products[samples.product[:SAMPLE_SLICE]]
    arrays = [users[:, :64], users[:, 64:448], users[:, 448:], products[:, :64], products[:, 64:]]
    network.compile("adam", "mse")
    network.fit([array[:64] for array in arrays], samples.label[:64], batch_size=32, verbose=0)
    started = time.perf_counter()
    network.fit(arrays, samples.label[:SAMPLE_SLICE], batch_size=32, verbose=0)
    return time.perf_counter() - started


def main() -> None:
    path, cache = review_file(), cache_folder()
    encoder_path = cached_encoder(cache)
    with tempfile.TemporaryDirectory() as folder:

        def run() -> tuple[TrainingResult, dict[str, float]]:
            progress = Progress()
            options = TrainingOptions(PRESETS["v5_power"], CleaningOptions())
            return train(
                path, Path(folder), options, encoder_path=encoder_path, cache=cache, progress=progress
            ), progress.seconds

        result, _ = run()  # fills the cache where it is cold
        result, stages = run()
        reviews, count = result.reviews, len(result.reviews)
        distinct = list(dict.fromkeys(review_text(*pair) for pair in zip(reviews.titles, reviews.texts, strict=True)))
        products = [
            product_text(item.name, item.brand, item.categories, item.manufacturer) for item in result.release.catalogue
        ]
        draw = np.random.default_rng(0).permutation(len(distinct))[:TEXT_SLICE]
        encoder = TextEncoder(encoder_path)
        encoder.encode(products[:8])
        started = time.perf_counter()
        encoder.encode([distinct[row] for row in draw])
        encoding = (time.perf_counter() - started) * (len(distinct) + len(products)) / TEXT_SLICE
        # A row of the expanded table has a review text and a product text.
        rows = np.random.default_rng(1).integers(0, count, TEXT_SLICE // 2)
        expanded = [review_text(reviews.titles[row], reviews.texts[row]) for row in rows] + [
            products[reviews.product[row]] for row in rows
        ]
        notebook = {
            "embed every row twice": notebook_embedding(expanded) * (8 * count / len(expanded)),
            "negatives row by row": notebook_negatives(result) * (count / NEGATIVE_SLICE),
            "ten epochs at batch 32": 10 * notebook_epoch(result) * (len(result.inputs.training) / SAMPLE_SLICE),
        }
    warm = sum(stages.values())
    cold = warm - stages["encode texts"] + encoding
    print(f"{len(sched_getaffinity(0))} cores, {count:,} reviews, {len(distinct):,} distinct texts")
    for name, seconds in stages.items():
        print(f"ours      {name:<24} {seconds:9.1f} s")
    scale = (len(distinct) + len(products)) / TEXT_SLICE
    print(f"ours      encode texts, cold cache {encoding:9.1f} s (from {TEXT_SLICE} texts, scaled by {scale:.0f})")
    for name, seconds in notebook.items():
        print(f"notebook  {name:<24} {seconds:9.1f} s (scaled)")
    print(f"slices of the notebook: {TEXT_SLICE} texts, {NEGATIVE_SLICE} reviews, {SAMPLE_SLICE} samples")
    print(
        json.dumps(
            {
                "vs_notebook": round(sum(notebook.values()) / cold, 2),
                "seconds_cold": round(cold, 1),
                "seconds_warm": round(warm, 1),
                "vs_notebook_warm": round(sum(notebook.values()) / warm, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
