"""Write the fixture of the present release format: ``python -m tests.golden.make_release tests/golden/releases/vN``.

Run once when the format gets a new version; the fixtures of older versions stay as they are and must keep loading.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.support.releases import random_product, unit_vectors
from twotower.als import ItemFactors
from twotower.encoder import CONFIG, MODEL_BIN, MODEL_XML, TOKENIZER, encoder_id
from twotower.features import (
    ALS_DIM,
    PRODUCT_DIM,
    TOWER_DIM,
    USER_DIM,
    Float32,
    cold_rows,
    product_rows,
    user_rows,
)
from twotower.model import Activation, Dense, TwoTowerWeights, product_fusion, run_layers, score_catalogue
from twotower.release import Golden
from twotower.release_writer import ReleaseContents, ReleaseWriter
from twotower.scoring import LiftScoring, log_popularity

PRODUCTS = 4


def small_weights(rng: np.random.Generator) -> TwoTowerWeights:
    """The contracted inputs and towers with two hidden units, so that the fixture stays a few kilobytes."""

    def dense(inputs: int, units: int, activation: Activation) -> Dense:
        kernel = rng.normal(0, inputs**-0.5, (inputs, units)).astype(np.float32)
        return Dense(kernel, rng.normal(0, 0.1, units).astype(np.float32), activation)

    fusion = (dense(2 * TOWER_DIM, 4, "elu"), dense(4, 1, "linear"))
    return TwoTowerWeights(
        (dense(USER_DIM, 2, "elu"), dense(2, TOWER_DIM, "elu")),
        (dense(PRODUCT_DIM, 2, "elu"), dense(2, TOWER_DIM, "elu")),
        fusion,
    )


def small_lift(rng: np.random.Generator, weights: TwoTowerWeights, fusion: Float32, mean: Float32) -> LiftScoring:
    """Lift scoring, which has every optional file of the format."""
    cold = score_catalogue(weights, cold_rows(mean), fusion)[0]
    base = rng.uniform(2, 5, PRODUCTS).astype(np.float32)
    return LiftScoring(0.1, 0.25, 7.0, cold, base, log_popularity(rng.uniform(0, 9, PRODUCTS)), 3.5)


def write_fixture(root: Path) -> None:
    """Write the release under `root`."""
    rng = np.random.default_rng(1)
    weights = small_weights(rng)
    space = ItemFactors(rng.normal(0, 0.1, (PRODUCTS, ALS_DIM)).astype(np.float32), 0.5, 1.0)
    rows = product_rows(space.factors, unit_vectors(rng, PRODUCTS))
    fusion, mean = product_fusion(weights, run_layers(weights.product_tower, rows)), unit_vectors(rng, 1)[0]
    scoring = small_lift(rng, weights, fusion, mean)
    users = user_rows(
        rng.normal(0, 0.5, (3, ALS_DIM)).astype(np.float32), unit_vectors(rng, 3), np.array([False, False, True])
    )
    network = score_catalogue(weights, users, fusion)
    indices = np.tile(np.arange(PRODUCTS), (3, 1))
    with ReleaseWriter(root) as writer, tempfile.TemporaryDirectory() as folder:
        for name in (MODEL_XML, MODEL_BIN, TOKENIZER):
            (Path(folder) / name).write_text("placeholder")
        (Path(folder) / CONFIG).write_text('{"model": "placeholder", "max_tokens": 256}')
        contents = ReleaseContents(
            preset="golden",
            weights=weights,
            space=space,
            global_mean=mean,
            catalogue=[random_product(rng, index) for index in range(PRODUCTS)],
            product_rows=rows,
            scoring=scoring,
            golden=Golden(users, indices, scoring.scores(network), scoring.ratings(network)),
            golden_tolerance=1e-5,
            encoder_path=Path(folder),
            encoder_id=encoder_id(Path(folder)),
            dataset={"synthetic": True},
        )
        writer.write(contents)
        writer.commit(contents.manifest())


if __name__ == "__main__":
    write_fixture(Path(sys.argv[1]))
