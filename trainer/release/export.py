"""What was trained, written as a release."""

import json
import tempfile
import zipfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from trainer.data.columns import CHUNK_ROWS
from trainer.data.reviews import Reviews
from trainer.encoding.cache import ReviewVectors
from trainer.features.history import final_als, final_states
from twotower.als import ItemFactors
from twotower.features import Float32
from twotower.model import score_catalogue
from twotower.release import Release
from twotower.release_writer import ReleaseContents, ReleaseWriter

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_LIBRARIES: Final = ("twotower", "numpy", "tensorflow", "keras", "openvino", "tokenizers")
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


def write_release(
    root: Path,
    contents: ReleaseContents,
    network: Any,
    reviews: Reviews,
    vectors: ReviewVectors,
    *,
    users: Path | None = None,
    signing_key: "Ed25519PrivateKey | None" = None,
) -> tuple[Release, float]:
    """Write a trained release, whole or not at all, and open it as serving will.

    Returns:
        The release, and the largest difference of its replayed golden requests.

    Args:
        root: folder of releases.
        contents: what every release holds.
        network: the ``keras.Model``.
        reviews: of the users that will be published.
        vectors: embeddings of the reviews.
        users: folder of users; the one beside `root` if None.
        signing_key: signs the manifest if given.
    """
    with ReleaseWriter(root, users, signing_key) as writer:
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
