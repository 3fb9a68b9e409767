"""Top-10 of large catalogues for one user: exact, against the same network tiled in numpy, and in two stages.

600, 10k, 100k and 1M products. Each size runs in a process of its own, whose memory is that of the whole scoring
process: JAX, the release's product matrix (mapped, as a release is), the head. The catalogue's texts are not in it.
Two-stage retrieval (ranking_service/network/two_stage.py) is measured at 1M products, for both kinds of score: the
network's output, and lift plus log popularity; its recall is that of 100 users whom it has not seen, against the exact
answer. Weights and users are random, products are standard normal: the least structure that a catalogue can have.

The last line is JSON: `ms_1m`, median milliseconds per user at 1M products; `mb_1m`, peak resident memory there;
`two_stage_speedup` and `two_stage_recall` (recall@10), of the kind of score for which it is worse.
"""

import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import rig
from tests.support.releases import random_user_rows, random_weights
from twotower.features import USER_DIM, Float32
from twotower.model import run_layers, split_fusion, top_k, user_fusion
from twotower.scoring import LiftScoring, RatingScoring, Scoring, log_popularity

SIZES: Final = (600, 10_000, 100_000, 1_000_000)
K: Final = 10
_TILE: Final = 10_000


def main() -> None:
    """Run every size and print."""
    rig.print_machine("jax", "faiss-cpu")
    print(
        f"{'products':>9} {'ours, ms':>9} {'numpy, ms':>10} {'ratio':>6} {'ns per product':>15} {'peak MB':>8} "
        f"{'ready, s':>9}"
    )
    context = multiprocessing.get_context("spawn")
    last: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="twotower-bench-") as folder:
        for size in SIZES:
            path = Path(folder) / f"{size}.npy"
            np.save(path, np.random.default_rng(0).standard_normal((size, 64), np.float32))
            with context.Pool(1) as pool:
                last = pool.apply(_measure, (path,))
            print(
                f"{size:>9} {last['ms']:>9.2f} {last['numpy_ms']:>10.2f} {last['numpy_ms'] / last['ms']:>5.1f}x"
                f" {1e6 * last['ms'] / size:>15.1f} {last['mb']:>8.0f} {last['ready_s']:>9.1f}"
            )
        two_stages = []
        for kind in ("rating", "lift"):
            with context.Pool(1) as pool:
                two_stages.append(pool.apply(_measure_two_stage, (path, kind)))
            exact, two, recall, ready_s, mb = two_stages[-1]
            print(
                f"two stages, {kind}: {two:.2f} ms, exact {exact:.2f} ms, {exact / two:.1f}x, recall@{K} {recall:.4f}; "
                f"index ready in {ready_s:.0f} s, peak {mb:.0f} MB"
            )
    rig.print_json(
        ms_1m=last["ms"],
        mb_1m=last["mb"],
        two_stage_speedup=min(exact / two for exact, two, *_ in two_stages),
        two_stage_recall=min(recall for _, _, recall, *_ in two_stages),
    )


def _measure_two_stage(path: Path, kind: str) -> tuple[float, float, float, float, float]:
    """Milliseconds exact and in two stages, recall, seconds to open, peak MB; runs in a process of its own."""
    from ranking_service.network.head import Programs, open_head
    from ranking_service.network.lanes import Lanes
    from ranking_service.network.two_stage import TwoStage
    from ranking_service.release.popularity_snapshot import PopularitySnapshot

    rng = np.random.default_rng(0)
    weights = random_weights(rng, "elu")
    fusion = np.load(path, mmap_mode="r")
    lanes, programs = Lanes(), Programs()
    head = open_head(weights, fusion, lanes, programs)
    scoring: Scoring = RatingScoring()
    if kind == "lift":
        counts = rng.pareto(1.0, len(fusion))
        cold = head(np.zeros((1, USER_DIM), np.float32))[0]
        scoring = LiftScoring(1.0, 0.0, 7.0, cold, np.full(len(fusion), 4, np.float32), log_popularity(counts), 4.0)
    start = time.perf_counter()
    probe_users = random_user_rows(rng, 96)
    two_stage = TwoStage(
        head, weights, fusion, scoring=scoring, probe_users=probe_users, lanes=lanes, programs=programs
    )
    ready_s = time.perf_counter() - start
    times, recalls = [], []
    for user in random_user_rows(np.random.default_rng(1), 100):
        begin = time.perf_counter()
        (expected,) = top_k(scoring.scores(head(user[np.newaxis])), K)
        between = time.perf_counter()
        (proposed,) = top_k(scoring.scores(two_stage(user[np.newaxis], PopularitySnapshot())), K)
        times.append((between - begin, time.perf_counter() - between))
        recalls.append(np.isin(expected, proposed).mean())
    exact, two = 1e3 * np.median(times, axis=0)
    lanes.close()
    return (
        float(exact),
        float(two),
        float(np.mean(recalls)),
        ready_s,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _measure(path: Path) -> dict[str, float]:
    """Measure one size; runs in a process of its own."""
    from ranking_service.network.head import Programs, open_head
    from ranking_service.network.lanes import Lanes

    rng = np.random.default_rng(0)
    weights = random_weights(rng, "elu")
    fusion = np.load(path, mmap_mode="r")
    products = len(fusion)
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
            best = ours(users[user : user + 1])
            times.append(time.perf_counter() - start)
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def tiled(row: Float32) -> Any:
        half = user_fusion(weights, run_layers(weights.user_tower, row))
        scores = [split_fusion(weights, half, fusion[tile : tile + _TILE]) for tile in range(0, products, _TILE)]
        return np.concatenate(scores, axis=1)

    start = time.perf_counter()
    exact = tiled(users[-1:])
    numpy_ms = 1e3 * (time.perf_counter() - start)
    np.testing.assert_allclose(np.take_along_axis(exact, best, 1), np.sort(exact)[:, : -K - 1 : -1], atol=1e-4)
    lanes.close()
    return {"ms": 1e3 * float(np.median(times)), "numpy_ms": numpy_ms, "mb": mb, "ready_s": ready_s}


if __name__ == "__main__":
    main()
