"""Our encoder against `SentenceTransformer.encode` with its defaults: the same texts, one run, and the cosine between
the two.

Reading files and the vector cache are not measured. The peak printed beside it is what the machine's cores do in a
large float32 matrix product, measured in the same run: no float32 encoder can be faster than its own multiplications at
that rate.

The last line is JSON: `vs_sentence_transformers`, how many times faster ours is; `cosine_min`, of the most different
pair of vectors; `texts_per_s` of ours.
"""

import time
from functools import partial
from typing import Final

import numpy as np

from benchmarks import rig, rival_sentence_transformers
from trainer.data.cleaning import CleaningOptions
from trainer.data.reviews import read_reviews
from twotower.encoder import TextEncoder
from twotower.features import dequantize, review_text

TEXTS: Final = 1000
MULTIPLICATIONS_PER_TOKEN: Final = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
"""MiniLM has six layers; attention scores are left out."""


def main() -> None:
    """Encode the same texts with both, and print."""
    reviews, _ = read_reviews(rig.review_file(), CleaningOptions())
    distinct = list(dict.fromkeys(review_text(*pair) for pair in zip(reviews.titles, reviews.texts, strict=True)))
    texts = [distinct[row] for row in np.random.default_rng(0).permutation(len(distinct))[:TEXTS]]
    encoder = TextEncoder(rig.encoder_folder())
    encoder.encode(texts[:32])
    start = time.perf_counter()
    encoded = encoder.encode(texts)
    seconds = time.perf_counter() - start
    rival_s, rival = rival_sentence_transformers.encode(texts)
    vectors = dequantize(encoded.fixed_point)
    cosine = (vectors * rival).sum(axis=1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(rival, axis=1)
    tokens = sum(encoded.token_counts)
    rate, peak = tokens * MULTIPLICATIONS_PER_TOKEN / seconds, _peak_rate()

    rig.print_machine("openvino", "sentence-transformers")
    print(f"{len(texts)} distinct reviews, {tokens / len(texts):.1f} tokens on average")
    print(f"ours                  {len(texts) / seconds:8.1f} texts/s ({encoder.config.precision})")
    print(f"sentence-transformers {len(texts) / rival_s:8.1f} texts/s (fp32)")
    print(f"ratio                 {rival_s / seconds:8.2f}x")
    print(
        f"matrix products: ours {rate / 1e9:.1f} G multiply-adds/s, {rate / peak:.0%} of the {peak / 1e9:.1f} G/s of "
        "one large product"
    )
    print(f"so at most {peak / rate * rival_s / seconds:.2f}x of sentence-transformers could be had here in float32")
    rig.print_json(
        vs_sentence_transformers=rival_s / seconds,
        cosine_min=float(cosine.min()),
        texts_per_s=len(texts) / seconds,
    )


def _peak_rate() -> float:
    """Multiply-adds per second of a large float32 product."""
    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    return 2048**3 / min(rig.seconds_of(partial(np.matmul, a, a)) for _ in range(5))


if __name__ == "__main__":
    main()
