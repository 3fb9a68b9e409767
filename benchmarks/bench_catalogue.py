"""Exact top-10 of large catalogues for one user: 600, 10k, 100k and 1M products, against the same network tiled in numpy.

Each size runs in a process of its own, whose memory is that of the whole scoring process: TensorFlow, the release's product matrix, the
head. The catalogue's texts are not in it.

The last line is JSON: `ms_1m`, median milliseconds a user at 1M products; `mb_1m`, peak resident memory there; `two_stage_speedup` and
`two_stage_recall` are null, because every answer is exact: there is no two-stage retrieval.
"""

import multiprocessing
import resource
import time
from typing import Any, Final

import numpy as np
import rig

from tests.support.releases import random_user_rows, random_weights
from twotower.features import Float32
from twotower.model import run_layers, split_fusion, top_k, user_fusion

SIZES: Final = (600, 10_000, 100_000, 1_000_000)
K: Final = 10
_TILE: Final = 10_000


def main() -> None:
    """Run every size and print."""
    rig.print_machine()
    print(f"{'products':>9} {'ours, ms':>9} {'numpy, ms':>10} {'ratio':>6} {'ns a product':>13} {'peak MB':>8} {'ready, s':>9}")
    context = multiprocessing.get_context("spawn")
    last: dict[str, float] = {}
    for size in SIZES:
        with context.Pool(1) as pool:
            last = pool.apply(_measure, (size,))
        print(
            f"{size:>9} {last['ms']:>9.2f} {last['numpy_ms']:>10.2f} {last['numpy_ms'] / last['ms']:>5.1f}x"
            f" {1e6 * last['ms'] / size:>13.1f} {last['mb']:>8.0f} {last['ready_s']:>9.1f}"
        )
    rig.print_json(ms_1m=last["ms"], mb_1m=last["mb"], two_stage_speedup=None, two_stage_recall=None)


def _measure(products: int) -> dict[str, float]:
    """One size, in a fresh process."""
    from ranking_service.head import Lanes, Programs, open_head

    rng = np.random.default_rng(0)
    weights = random_weights(rng, "elu")
    fusion = rng.standard_normal((products, 64), np.float32)
    users = random_user_rows(rng, 8)
    start = time.perf_counter()
    lanes = Lanes()
    head = open_head(weights, fusion, lanes, Programs())
    head.warm_up()
    ready_s = time.perf_counter() - start

    def ours(row: Float32) -> Any:
        return top_k(head(row), K)

    times = []
    for _ in range(3 if products > 100_000 else 10):
        for user in range(len(users)):
            start = time.perf_counter()
            found = ours(users[user : user + 1])
            times.append(time.perf_counter() - start)
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def tiled(row: Float32) -> Any:
        half = user_fusion(weights, run_layers(weights.user_tower, row))
        scores = [split_fusion(weights, half, fusion[tile : tile + _TILE]) for tile in range(0, products, _TILE)]
        return np.concatenate(scores, axis=1)

    start = time.perf_counter()
    exact = tiled(users[-1:])
    numpy_ms = 1e3 * (time.perf_counter() - start)
    np.testing.assert_allclose(np.take_along_axis(exact, found, 1), np.sort(exact)[:, : -K - 1 : -1], atol=1e-4)
    lanes.close()
    return {"ms": 1e3 * float(np.median(times)), "numpy_ms": numpy_ms, "mb": mb, "ready_s": ready_s}


if __name__ == "__main__":
    main()
