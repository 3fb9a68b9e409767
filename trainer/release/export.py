"""What was trained, written as a release."""

import json
import tempfile
import zipfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import CHUNK_ROWS
from trainer.data.reviews import Reviews
from trainer.encoding.cache import ReviewVectors
from trainer.features.history import ANONYMOUS, COLD, FIRST_WARM, final_als, final_states
from trainer.network.towers import FeatureTables, score_pairs
from twotower.als import ItemFactors
from twotower.features import Float32, Int16
from twotower.model import score_catalogue
from twotower.release import Golden, Release
from twotower.release_writer import ReleaseContents, ReleaseWriter
from twotower.scoring import LiftScoring, Scoring

GOLDEN_TOLERANCE: Final = 1e-4
"""Allowed difference on the rating scale: serving adds float32 numbers in another order."""
_GOLDEN_WARM: Final = 14
_GOLDEN_PRODUCTS: Final = 64
_GOLDEN_TEXTS: Final = 16
_LIBRARIES: Final = ("twotower", "numpy", "tensorflow", "keras", "openvino", "tokenizers")
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


def write_release(
    root: Path, contents: ReleaseContents, network: Any, reviews: Reviews, vectors: ReviewVectors
) -> tuple[Release, float]:
    """Write a trained release under `root`, whole or not at all, and open it as serving will.

    Returns:
        The release, and the largest difference of its replayed golden requests.

    Args:
        root: folder of releases.
        contents: what every release holds.
        network: the ``keras.Model``.
        reviews: of the users that will be published.
        vectors: embeddings of the reviews.
    """
    with ReleaseWriter(root) as writer:
        writer.write(contents)
        write_keras(writer, network)
        _write_users(writer, reviews, vectors, contents.space)
        release = writer.commit(contents.manifest())
        return release, replay_golden(release)


def library_versions(*more: str) -> dict[str, str]:
    """Versions of the libraries that every release is made with, and of some more."""
    return {name: version(name) for name in (*_LIBRARIES, *more)}


def write_keras(writer: ReleaseWriter, network: Any) -> None:
    """Write ``two_tower.keras`` and ``two_tower.weights.h5``, without the times that Keras writes into the first."""
    network.save_weights(writer.path("two_tower.weights.h5"))
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "two_tower.keras"
        network.save(saved)
        with zipfile.ZipFile(saved) as source, zipfile.ZipFile(writer.path("two_tower.keras"), "w") as target:
            for name in sorted(source.namelist()):
                data = source.read(name)
                if name.endswith(".json"):
                    data = json.dumps(_reproducible(json.loads(data), {})).encode()
                target.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)


def _reproducible(value: Any, numbers: dict[int, int]) -> Any:
    """Keras' JSON without the time of saving, and with objects numbered from 0 instead of by memory address."""
    if isinstance(value, list):
        return [_reproducible(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: numbers.setdefault(item, len(numbers)) if key == "shared_object_id" else _reproducible(item, numbers)
        for key, item in value.items()
        if key != "date_saved"
    }


def golden_requests(network: Any, tables: FeatureTables, scoring: Scoring) -> Golden:
    """Cold, anonymous and warm users with the answers of the full Keras network."""
    states, count = tables.users, len(tables.products)
    last, warm = len(states) - 1, np.zeros(0, int)
    if last >= FIRST_WARM:
        # Spread over all warm states, so that short and long histories are among them.
        warm = np.unique(np.linspace(FIRST_WARM, last, _GOLDEN_WARM).astype(int))
    users = states[np.concatenate([[COLD, ANONYMOUS], warm])]
    rng = np.random.default_rng(0)
    products = np.stack([rng.permutation(count)[:_GOLDEN_PRODUCTS] for _ in users]).astype(np.int64)
    # The whole catalogue: a lift needs every product's output.
    outputs = np.stack(
        [score_pairs(network, np.repeat(row[np.newaxis], count, axis=0), tables.products) for row in users]
    )
    both = scoring.scores(outputs), scoring.ratings(outputs)
    return Golden(users, products, *(np.take_along_axis(values, products, axis=1) for values in both))


def golden_tolerance(scoring: Scoring) -> float:
    """Allowed difference of scores: a lift is the output divided by its temperature."""
    return GOLDEN_TOLERANCE / scoring.temperature if isinstance(scoring, LiftScoring) else GOLDEN_TOLERANCE


def golden_texts(texts: list[str], vectors: Int16) -> tuple[list[str], Int16]:
    """A few texts of different lengths with their vectors."""
    by_length = sorted(range(len(texts)), key=lambda row: (len(texts[row]), texts[row]))
    rows = [by_length[rank] for rank in np.unique(np.linspace(0, len(texts) - 1, _GOLDEN_TEXTS).astype(int))]
    return [texts[row] for row in rows], vectors[rows]


def _write_users(writer: ReleaseWriter, reviews: Reviews, vectors: ReviewVectors, space: ItemFactors) -> None:
    """Write all that the embedding service is to know of the users."""
    states = final_states(reviews)
    chunks = (states.rows[start : start + CHUNK_ROWS] for start in range(0, len(states.rows), CHUNK_ROWS))
    columns: dict[str, Iterable[NDArray[Any]]] = {
        "review_offsets": [states.offsets],
        "products": [reviews.product[states.rows]],
        "ratings": [reviews.rating[states.rows]],
        "times_us": [reviews.time_us[states.rows]],
        "fixed_point": (vectors.of(rows) for rows in chunks),
        "als": final_als(reviews, space, states),
    }
    writer.users(reviews.user_ids.take(states.users), reviews.review_ids.take(states.rows), columns)


def replay_golden(release: Release) -> float:
    """Largest difference between the full Keras network and the kernel's split fusion on the golden requests.

    Raises:
        ReleaseInvalid: it is above the release's tolerance.
    """

    def score(users: Float32) -> tuple[Float32, Float32]:
        network = score_catalogue(release.weights, users, release.product_fusion)
        return release.scoring.scores(network), release.scoring.ratings(network)

    return release.replay_golden(score)
