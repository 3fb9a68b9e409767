"""Our encoder against `SentenceTransformer.encode` with its defaults: the same texts, the same run, the cosine between
the two.

It does not measure reading files or the vector cache. The peak printed beside it is what the machine's cores do in a
large float32 matrix product, measured in the same run: no float32 encoder can be faster than its own multiplications at
that rate.
"""

import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from os import sched_getaffinity
from pathlib import Path

import numpy as np

from benchmarks.trainer_data import cache_folder, review_file
from trainer.data.cleaning import CleaningOptions
from trainer.data.reviews import read_reviews
from trainer.encoding.export import bundled_model_path, cached_encoder
from twotower.encoder import TextEncoder
from twotower.features import dequantize, review_text

TEXTS = 1000
MULTIPLICATIONS_A_TOKEN = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
"""Of MiniLM's six layers, attention scores left out."""

RIVAL = """
import json, sys, time
import numpy as np
from sentence_transformers import SentenceTransformer
texts = json.load(open(sys.argv[1]))
model = SentenceTransformer(sys.argv[2], device="cpu", local_files_only=True)
model.encode(texts[:32])
started = time.perf_counter()
vectors = model.encode(texts, show_progress_bar=False)
print(time.perf_counter() - started)
np.save(sys.argv[3], vectors)
"""


def matrix_peak() -> float:
    """Multiply-adds a second of a large float32 product."""
    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - started)
    return 2048**3 / min(times)


def main() -> None:
    reviews, _ = read_reviews(review_file(), CleaningOptions())
    texts = list(dict.fromkeys(review_text(*pair) for pair in zip(reviews.titles, reviews.texts, strict=True)))
    texts = [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:TEXTS]]
    encoder = TextEncoder(cached_encoder(cache_folder()))
    encoder.encode(texts[:32])
    started = time.perf_counter()
    ours = encoder.encode(texts)
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "texts.json").write_text(json.dumps(texts))
        arguments = [f"{folder}/texts.json", str(bundled_model_path()), f"{folder}/rival.npy"]
        done = subprocess.run([sys.executable, "-c", RIVAL, *arguments], check=True, capture_output=True, text=True)
        rival_seconds, rival = float(done.stdout.split()[-1]), np.load(f"{folder}/rival.npy")
    vectors = dequantize(ours.fixed_point)
    cosine = (vectors * rival).sum(axis=1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(rival, axis=1)
    rate, peak = sum(ours.token_counts) * MULTIPLICATIONS_A_TOKEN / seconds, matrix_peak()
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    print(
        f"{len(sched_getaffinity(0))} cores, bf16 {'yes' if 'bf16' in flags else 'no'}, openvino "
        f"{version('openvino')}, "
        f"sentence-transformers {version('sentence-transformers')}"
    )
    print(f"{len(texts)} distinct reviews, {sum(ours.token_counts) / len(texts):.1f} tokens on average")
    print(f"ours                  {len(texts) / seconds:8.1f} texts/s ({encoder.config.precision})")
    print(f"sentence-transformers {len(texts) / rival_seconds:8.1f} texts/s (fp32)")
    print(
        f"matrix products: ours {rate / 1e9:.1f} G multiply-adds/s, {rate / peak:.0%} of the {peak / 1e9:.1f} "
        "G/s of one large product"
    )
    print(
        f"so at most {peak / rate * rival_seconds / seconds:.2f}x of sentence-transformers could be had here in float32"
    )
    print(
        json.dumps(
            {
                "vs_sentence_transformers": round(rival_seconds / seconds, 3),
                "cosine_min": round(float(cosine.min()), 7),
                "texts_per_s": round(len(texts) / seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
