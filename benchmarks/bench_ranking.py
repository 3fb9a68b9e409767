"""Scoring 600 products in process: the notebook's `model.predict` on tiled rows, the whole model under XLA, and the
split fusion head.

The rivals run in a process of their own with TensorFlow's default threads, ours with a lane a core; rounds are
interleaved, never at the same time, and the medians are compared. The floor is the two matrix products of the fusion
head alone (64 → 32 → 1 for every pair), the faster of both kinds of threads. Not measured: gRPC, features, Redis
(bench_serving.py).

The last line is JSON: `b1_vs_notebook`, how many times faster one user is; `b128_vs_notebook`, the same a user in a
batch of 128, against the notebook's one user after the other; `b128_over_floor`, the head's time over the floor's at
128 users.
"""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np

from benchmarks import rig
from ranking_service.network.graph import COMPILER_OPTIONS, import_jax
from ranking_service.network.head import Head
from ranking_service.network.lanes import Lanes
from tests.support.releases import random_user_rows, unit_vectors
from twotower.features import ALS_DIM, BERT_DIM, USER_DIM, Float32, product_rows
from twotower.model import TwoTowerWeights, product_fusion, run_layers

BATCHES: Final = (1, 8, 32, 128)
ROUNDS: Final = 25


def main() -> None:
    """Run, print, and check that all give the same scores."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    rival = context.Process(target=_rival, args=(other,), daemon=True)
    rival.start()
    weights, products = pipe.recv()
    fusion = product_fusion(weights, run_layers(weights.product_tower, products))
    lanes = Lanes()
    head = Head(weights, fusion, lanes)
    head.warm_up()

    def remote(name: str, batch: int) -> float:
        pipe.send((name, batch))
        seconds: float = pipe.recv()
        return seconds

    rig.print_machine("jax", "tensorflow", "keras")
    print(f"{rig.PRODUCTS} products, µs per user, medians of interleaved rounds")
    print(
        f"{'users':>6} {'notebook':>10} {'whole, XLA':>11} {'ours':>8} {'floor':>8} {'vs notebook':>12} "
        f"{'vs whole':>9} {'over floor':>11}"
    )
    per_user_s: dict[int, dict[str, float]] = {}
    for batch in BATCHES:
        rows = _rows(batch)
        pipe.send(("scores", batch))
        for answer in pipe.recv():
            np.testing.assert_allclose(head(rows), answer, atol=1e-3)
        ours, floor = partial(rig.seconds_of, partial(head, rows)), partial(rig.seconds_of, _floor(batch, lanes))
        slow = {"notebook": partial(remote, "notebook", batch), "whole": partial(remote, "whole", batch)}
        fast = {"ours": ours, "floor": floor, "floor, own threads": partial(remote, "floor", batch)}
        times = _medians(slow, 5) | _medians(fast, ROUNDS * (8 if batch == 1 else 1))
        times["floor"] = min(times["floor"], times.pop("floor, own threads"))
        per_user_s[batch] = {name: seconds / batch for name, seconds in times.items()}
        notebook, whole, own, least = (1e6 * per_user_s[batch][name] for name in ("notebook", "whole", "ours", "floor"))
        ratios = f"{notebook / own:>11.0f}x {whole / own:>8.1f}x {own / least:>10.2f}x"
        print(f"{batch:>6} {notebook:>10.0f} {whole:>11.0f} {own:>8.1f} {least:>8.1f} {ratios}")
    pipe.send(None)
    rival.join()
    lanes.close()
    one = per_user_s[1]["notebook"]
    rig.print_json(
        b1_vs_notebook=one / per_user_s[1]["ours"],
        b128_vs_notebook=one / per_user_s[128]["ours"],
        b128_over_floor=per_user_s[128]["ours"] / per_user_s[128]["floor"],
    )


def _rival(pipe: Connection) -> None:
    """Build the network, send its weights and products, then time what is requested."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    import tensorflow as tf

    from trainer.network.keras_graph import graph_weights
    from trainer.network.presets import preset_named
    from trainer.network.towers import build_network

    rng = np.random.default_rng(0)
    network = build_network(preset_named("v5_power"))
    products = product_rows(
        rng.normal(0, 0.1, (rig.PRODUCTS, ALS_DIM)).astype(np.float32), unit_vectors(rng, rig.PRODUCTS)
    )
    weights: TwoTowerWeights = graph_weights(network)
    pipe.send((weights, products))
    whole = tf.function(lambda rows: network(rows, training=False), jit_compile=True)

    def tiled(rows: Float32) -> list[Float32]:
        """Every (user, product) pair as rows of the network's inputs, as the notebook tiles them."""
        users, items = np.repeat(rows, rig.PRODUCTS, axis=0), np.tile(products, (len(rows), 1))
        columns = {
            "user_ALS_Embedding": users[:, :ALS_DIM],
            "user_BERT_Embedding": users[:, ALS_DIM : ALS_DIM + BERT_DIM],
            "is_anonymous_user": users[:, USER_DIM - 1 :],
            "product_ALS_Embedding": items[:, :ALS_DIM],
            "product_BERT_Embedding": items[:, ALS_DIM:],
        }
        return [columns[tensor.name] for tensor in network.inputs]

    def notebook(rows: Float32) -> Float32:
        scores: Float32 = network.predict(tiled(rows), verbose=0).reshape(len(rows), -1)
        return scores

    def whole_model(rows: Float32) -> Float32:
        scores: Float32 = whole([tf.constant(column) for column in tiled(rows)]).numpy().reshape(len(rows), -1)
        return scores

    floors: dict[int, Callable[[], Any]] = {}
    while (request := pipe.recv()) is not None:
        name, batch = request
        rows = _rows(batch)
        if name == "scores":
            floors[batch] = _floor_own_threads(batch)
            pipe.send((notebook(rows), whole_model(rows)))
        else:
            ways: dict[str, Callable[[], Any]] = {
                "notebook": partial(notebook, rows),
                "whole": partial(whole_model, rows),
                "floor": floors[batch],
            }
            pipe.send(rig.seconds_of(ways[name]))


def _rows(batch: int) -> Float32:
    return random_user_rows(np.random.default_rng(batch), batch)


def _floor(batch: int, lanes: Lanes) -> Callable[[], Any]:
    """The two matrix products for every pair of a batch, in the runtime of the head and cut into lanes as it does."""
    jax = import_jax()
    rng = np.random.default_rng(1)
    users = -(-batch // lanes.count) if batch >= 8 else batch
    shapes = ((users * rig.PRODUCTS, 64), (64, 32), (32, 1))
    hidden, first, second = (jax.device_put(rng.normal(size=shape).astype(np.float32)) for shape in shapes)
    products = jax.jit(lambda x, a, b: x @ a @ b).lower(hidden, first, second).compile(COMPILER_OPTIONS)
    parts = [jax.device_put(np.array(hidden)) for _ in range(-(-batch // users))]
    products(parts[0], first, second)
    return lambda: lanes.each(lambda part: np.asarray(products(part, first, second)), parts)


def _floor_own_threads(batch: int) -> Callable[[], Any]:
    """The two matrix products in TensorFlow with its default threads."""
    import tensorflow as tf

    rng = np.random.default_rng(1)
    hidden, first, second = (
        tf.constant(rng.normal(size=shape).astype(np.float32))
        for shape in ((batch * rig.PRODUCTS, 64), (64, 32), (32, 1))
    )
    products = tf.function(lambda x: tf.matmul(tf.matmul(x, first), second), jit_compile=True, autograph=False)
    compiled = products.get_concrete_function(tf.TensorSpec(hidden.shape))
    compiled(hidden)
    return lambda: compiled(hidden).numpy()


def _medians(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds of each, in interleaved rounds, so that others' work on the machine meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(way())
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


if __name__ == "__main__":
    main()
