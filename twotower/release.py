"""The release format: an immutable directory, named by its content, that holds all that serving needs.

Layout (docs/formats/release.md has every file)::

    <root>/<release_id>/manifest.json        ids, dims, sha256 of every file, metrics, dataset, golden requests
                        manifest.sig         Ed25519 signature over manifest.json, if it was signed
                        weights.safetensors  towers and fusion head
                        product_fusion.npy … item_factors.npy … catalogue.jsonl … golden/ … encoder/
    <root>/encoders/<encoder_id>/            each encoder once; a release's encoder/ is hard links to it

It is written by :class:`twotower.release_writer.ReleaseWriter`. Nothing in it is ever unpickled.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from twotower.als import ItemFactors
from twotower.errors import NotFound, ReleaseInvalid
from twotower.features import (
    ALS_DIM,
    BERT_DIM,
    PRODUCT_DIM,
    TOWER_DIM,
    USER_DIM,
    Float32,
    Int16,
    Int64,
    id_problem,
)
from twotower.model import Dense, TwoTowerWeights
from twotower.release_manifest import (
    ENCODER_FILES,
    FORMAT_VERSION,
    MANIFEST,
    PARTS,
    ROW_LAYOUT,
    SIGNATURE,
    Manifest,
    is_number,
    is_served,
    manifest_bytes,
)
from twotower.release_signature import check_signature
from twotower.release_users import USERS, ReleaseUsers, read_array, users_folder
from twotower.scoring import PRIOR_REVIEWS, LiftScoring, RatingScoring, Scoring

__all__ = ["FORMAT_VERSION", "MANIFEST", "PARTS", "ROW_LAYOUT", "SIGNATURE", "Manifest", "is_served"]

ENCODERS: Final = "encoders"
TEMPORARY_PREFIX: Final = ".writing-"
PRODUCT_TEXTS: Final = "product_texts.npy"
SCORING_ARRAYS: Final = ("cold_scores", "rating_base", "log_popularity")
_CHUNK_BYTES: Final = 128 * 1024
_LINES_AT_ONCE: Final = 50
_ROWS_AT_ONCE: Final = 512


@dataclass(frozen=True)
class Product:
    """One row of the catalogue; its index is its row in every product matrix."""

    product_id: str
    name: str
    brand: str
    categories: str
    manufacturer: str
    review_count: int
    mean_rating: float


@dataclass(frozen=True)
class Golden:
    """Requests with the answers that the trainer's full Keras model gave.

    Attributes:
        user_rows: (requests, 449) float32.
        product_indices: (requests, m) int64, the products scored for each.
        scores: (requests, m) float32.
        predicted_ratings: (requests, m) float32.
    """

    user_rows: Float32
    product_indices: Int64
    scores: Float32
    predicted_ratings: Float32


def no_pause() -> None:
    """For a process that has nothing else to do."""


def all_files(name: str) -> bool:  # noqa: ARG001 - whichever it is
    """For who reads everything."""
    return True


def als_id(space: ItemFactors, product_ids: Iterable[str], pause: Callable[[], object] = no_pause) -> str:
    """Content id of an ALS space: factors, constants and the products that the rows stand for."""
    digest, rows = hashlib.sha256(), space.factors
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        digest.update(rows[start : start + _ROWS_AT_ONCE].astype("<f4").tobytes())
        pause()
    digest.update(json.dumps([space.regularization, space.confidence_per_star])[:-1].encode())
    ids, before = iter(product_ids), ", ["
    while some := list(itertools.islice(ids, _ROWS_AT_ONCE)):
        digest.update((before + json.dumps(some)[1:-1]).encode())
        before = ", "
        pause()
    digest.update(b"]]" if before == ", " else b", []]")
    return digest.hexdigest()[:16]


def sha256_of(path: Path, pause: Callable[[], object] = no_pause) -> str:
    """Hex sha256 of a file; `pause` is called after every 128 kB."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            pause()
    return digest.hexdigest()


class Release:
    """A release on disk, opened and verified."""

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        pause: Callable[[], object] = no_pause,
        needed: Callable[[str], bool] = all_files,
        users: Path | None = None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self._pause = pause
        self._needed = needed
        self._users = users

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        verify: bool = True,
        pause: Callable[[], object] = no_pause,
        needed: Callable[[str], bool] = all_files,
        users: Path | None = None,
        public_key: Path | None = None,
    ) -> "Release":
        """Open a release directory.

        Args:
            path: the directory, by its own name.
            verify: compare size and sha256 of every file with the manifest.
            pause: called between pieces of work of a fifth of a millisecond or so; a server that answers requests
                meanwhile sleeps in it.
            needed: which files of the manifest are wanted; others need not be there and can't be read.
            users: folder of users' state, if it is not beside the folder of releases.
            public_key: PEM file of the key that must have signed the manifest; any release will do if None.

        Raises:
            NotFound: no such release.
            ReleaseInvalid: naming the file that is missing, truncated, edited or of the wrong shape.
            InvalidArgument: the public key can't be read.
        """
        data = manifest_bytes(path)
        if public_key is not None:
            check_signature(path, data, public_key)
        release = cls(path, Manifest.from_bytes(data), pause, needed, users)
        if release.release_id != path.absolute().name:
            raise ReleaseInvalid(
                f"{MANIFEST}: the release {release.release_id} is in a folder named {path.name!r}, not by its id"
            )
        if verify:
            release._verify_files()
        release._verify_contents()
        return release

    @property
    def release_id(self) -> str:
        """Content id."""
        return self.manifest.release_id

    def file(self, name: str) -> Path:
        """A file of the release.

        Raises:
            ReleaseInvalid: the manifest does not list it, or it is none of those that were wanted.
        """
        if name not in self.manifest.files or not self._needed(name):
            raise ReleaseInvalid(f"{name}: is not among the manifest's files")
        return self.path / name

    @property
    def encoder_path(self) -> Path:
        """Folder of the text encoder."""
        return next(self.file(f"encoder/{name}").parent for name in ENCODER_FILES)

    @cached_property
    def weights(self) -> TwoTowerWeights:
        """Towers and fusion head."""
        name = "weights.safetensors"
        try:
            tensors = load_file(self.file(name))
        except ReleaseInvalid:
            raise
        except Exception as error:  # the reader's own, and whatever numpy says of a type it does not have
            raise ReleaseInvalid(f"{name}: {error}") from error
        for key, tensor in tensors.items():
            if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
                raise ReleaseInvalid(f"{name}: {key[:80]} must be finite float32")
        try:
            return TwoTowerWeights(
                **{
                    part: tuple(
                        Dense(tensors[f"{part}.{i}.kernel"], tensors[f"{part}.{i}.bias"], activation)  # type: ignore[arg-type]
                        for i, activation in enumerate(self.manifest.activations[part])
                    )
                    for part in PARTS
                }
            )
        except KeyError as error:
            raise ReleaseInvalid(f"{name}: {error} is missing") from error

    @cached_property
    def item_factors(self) -> ItemFactors:
        """The ALS space."""
        return ItemFactors(
            self.array("item_factors.npy"), self.manifest.regularization, self.manifest.confidence_per_star
        )

    @cached_property
    def global_mean(self) -> Float32:
        """Mean review embedding of the training period, (384,) float32: what cold and anonymous users have."""
        return self.array("global_mean.npy")

    @cached_property
    def product_towers(self) -> Float32:
        """(products, 64) float32."""
        return self.array("product_towers.npy")

    @cached_property
    def product_texts(self) -> Int16 | None:
        """Embeddings of the product texts, (products, 384) fixed point; None in a release that lacks the file."""
        if PRODUCT_TEXTS not in self.manifest.files:
            return None
        return self._array(PRODUCT_TEXTS, np.int16, (self.manifest.product_count, BERT_DIM))

    @cached_property
    def product_fusion(self) -> Float32:
        """(products, units) float32: the product's half of the first fusion layer."""
        return self.array("product_fusion.npy")

    @cached_property
    def catalogue(self) -> tuple[Product, ...]:
        """The products, in index order."""
        name, products = "catalogue.jsonl", list[Product]()
        try:
            with self.file(name).open(encoding="utf-8") as file:
                while lines := list(itertools.islice(file, _LINES_AT_ONCE)):
                    products += [_product(json.loads(line)) for line in lines]
                    self._pause()
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ReleaseInvalid(f"{name}: line {len(products) + 1} or one soon after it: {error}") from error
        if len({product.product_id for product in products}) != len(products):
            raise ReleaseInvalid(f"{name}: a product_id is there twice")
        return tuple(products)

    @cached_property
    def scoring(self) -> Scoring:
        """How scores and ratings come from the network's output."""
        scalars = dict(self.manifest.scoring)
        kind = scalars.pop("kind", None)
        for name, value in scalars.items():
            if not is_number(value, 0) or (name in ("temperature", "half_life_days") and not value):
                raise ReleaseInvalid(
                    f"{MANIFEST}: scoring.{name[:80]!r} must be a number above 0, got {str(value)[:80]!r}"
                )
        try:
            if kind == "rating":
                return RatingScoring(**scalars)
            if kind == "lift":
                arrays: dict[str, Any] = {
                    name: np.asarray(self._array(f"scoring/{name}.npy", np.float32, (self.manifest.product_count,)))
                    for name in SCORING_ARRAYS
                }
                if self.manifest.format_version == 1:
                    scalars["prior_mean"] = _prior_mean(self.catalogue, arrays["rating_base"])
                return LiftScoring(**scalars, **arrays)
        except TypeError as error:
            raise ReleaseInvalid(f"{MANIFEST}: scoring: {error}") from error
        raise ReleaseInvalid(f"{MANIFEST}: scoring.kind {str(kind)[:80]!r} is not known")

    @cached_property
    def golden(self) -> Golden:
        """The golden requests."""
        user_rows = self._array("golden/user_rows.npy", np.float32, (None, USER_DIM))
        indices = self._array("golden/product_indices.npy", np.int64, (len(user_rows), None))
        if not indices.size or indices.min() < 0 or indices.max() >= self.manifest.product_count:
            raise ReleaseInvalid("golden/product_indices.npy: must be rows of the catalogue, at least one per request")
        return Golden(
            user_rows,
            indices,
            self._array("golden/scores.npy", np.float32, indices.shape),
            self._array("golden/predicted_ratings.npy", np.float32, indices.shape),
        )

    @cached_property
    def golden_texts(self) -> tuple[list[str], Int16]:
        """Texts and their fixed-point embeddings, (texts, 384) int16."""
        name = "golden/texts.json"
        if self.manifest.format_version == 1 and name not in self.manifest.files:
            return [], np.zeros((0, BERT_DIM), np.int16)
        try:
            texts = json.loads(self.file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ReleaseInvalid(f"{name}: {error}") from error
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ReleaseInvalid(f"{name}: must be a list of texts")
        return texts, self._array("golden/text_fixed_point.npy", np.int16, (len(texts), BERT_DIM))

    @cached_property
    def users(self) -> ReleaseUsers:
        """Users and their reviews.

        Raises:
            ReleaseInvalid: they are not there, or their files do not fit each other.
        """
        count = self.manifest.product_count
        if self.manifest.format_version < 3:
            return ReleaseUsers.read(self.path / USERS, lambda name: self.file(f"{USERS}/{name}"), count)
        if not self.manifest.has_users:
            return ReleaseUsers.none()
        return ReleaseUsers.open(users_folder(self.path, self._users), self.release_id, count)

    def array(self, name: str) -> NDArray[Any]:
        """A ``.npy`` file, mapped read-only."""
        array = read_array(self.file(name), name)
        self._pause()
        return array

    def _array(self, name: str, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """An array of a type and a shape, None for any length, and of finite numbers."""
        array = self.array(name)
        expected = tuple(size if known is None else known for size, known in zip(array.shape, shape, strict=False))
        if array.dtype != dtype or array.shape != expected or len(expected) != len(shape):
            wanted = f"{np.dtype(dtype)} {tuple('any' if size is None else size for size in shape)}"
            raise ReleaseInvalid(f"{name}: {array.dtype} of shape {array.shape}, expected {wanted}")
        if np.issubdtype(dtype, np.floating):
            for start in range(0, len(array), _ROWS_AT_ONCE):
                if not np.isfinite(array[start : start + _ROWS_AT_ONCE]).all():
                    raise ReleaseInvalid(f"{name}: must be finite numbers")
                self._pause()
        return array

    def replay_golden(self, score: Callable[[Float32], tuple[Float32, Float32]]) -> float:
        """Score the golden users and compare.

        Args:
            score: user rows (requests, 449) → scores and predicted ratings, each (requests, products).

        Returns:
            The largest difference found.

        Raises:
            ReleaseInvalid: naming the request whose answer differs by more than ``golden_tolerance``.
        """
        golden, tolerance = self.golden, self.manifest.golden_tolerance
        worst = 0.0
        for name, answer in zip(("scores", "predicted_ratings"), score(np.asarray(golden.user_rows)), strict=True):
            difference = np.abs(np.take_along_axis(answer, golden.product_indices, axis=1) - getattr(golden, name)).max(
                axis=1
            )
            for request, value in enumerate(difference.tolist()):
                if not value <= tolerance:  # also for NaN
                    raise ReleaseInvalid(
                        f"golden request {request}: {name} differ by {value:.3g}, allowed {tolerance:.3g}"
                    )
            worst = max(worst, float(difference.max()))
        return worst

    def _verify_files(self) -> None:
        folder = self.path.resolve()
        for name, expected in self.manifest.files.items():
            if not self._needed(name):
                continue
            file = self.path / name
            try:
                if not file.is_file():
                    raise ReleaseInvalid(f"{name}: missing")
                if not file.resolve().is_relative_to(folder):
                    raise ReleaseInvalid(f"{name}: is a link out of the release's folder")
                if file.stat().st_size != expected["bytes"]:
                    raise ReleaseInvalid(f"{name}: {file.stat().st_size} bytes, the manifest says {expected['bytes']}")
                if sha256_of(file, self._pause) != expected["sha256"]:
                    raise ReleaseInvalid(f"{name}: its sha256 is not the manifest's")
            except (OSError, ValueError, RuntimeError) as error:
                raise ReleaseInvalid(f"{name}: can't be read: {error}") from error

    def _verify_contents(self) -> None:
        if self.manifest.row_layout != ROW_LAYOUT:
            raise ReleaseInvalid(
                f"{MANIFEST}: row_layout is {dict(self.manifest.row_layout)}, this version serves {ROW_LAYOUT}"
            )
        _check_layers(self.weights)
        count, units = self.manifest.product_count, self.weights.fusion[0].kernel.shape[1]
        for name, shape in (
            ("product_towers.npy", (count, TOWER_DIM)),
            ("product_fusion.npy", (count, units)),
            ("global_mean.npy", (BERT_DIM,)),
            ("item_factors.npy", (count, ALS_DIM)),
        ):
            self._array(name, np.float32, shape)
        _ = self.scoring, self.golden, self.product_texts
        if len(self.catalogue) != count:
            raise ReleaseInvalid(f"catalogue.jsonl: {len(self.catalogue)} products, the manifest says {count}")
        space = als_id(self.item_factors, (product.product_id for product in self.catalogue), self._pause)
        if space != self.manifest.als_id:
            raise ReleaseInvalid(f"{MANIFEST}: als_id {self.manifest.als_id} is not that of its factors, {space}")


def _check_layers(weights: TwoTowerWeights) -> None:
    """Check that each layer takes what the one before gives, from the contracted inputs to the contracted outputs."""
    for part, inputs, outputs in (
        ("user_tower", USER_DIM, TOWER_DIM),
        ("product_tower", PRODUCT_DIM, TOWER_DIM),
        ("fusion", 2 * TOWER_DIM, 1),
    ):
        layers = getattr(weights, part)
        width = inputs
        for number, layer in enumerate(layers):
            if layer.kernel.ndim != 2 or layer.kernel.shape[0] != width or layer.bias.shape != layer.kernel.shape[1:]:
                raise ReleaseInvalid(
                    f"weights.safetensors: {part}.{number} does not take the contracted inputs: kernel "
                    f"{layer.kernel.shape}, bias {layer.bias.shape}, expected ({width}, n) and (n,)"
                )
            width = layer.kernel.shape[1]
        if width != outputs or (part == "fusion" and len(layers) < 2):
            raise ReleaseInvalid(f"weights.safetensors: {part} ends {width} wide, expected {outputs}")


_PRODUCT_TYPES: Final = {item.name: item.type for item in dataclasses.fields(Product)}


def _product(row: dict[str, Any]) -> Product:
    """A line of the catalogue.

    Raises:
        TypeError: a key is missing or unknown.
        ValueError: naming the key whose value is of another form.
    """
    product = Product(**row)
    for name, kind in _PRODUCT_TYPES.items():
        value = getattr(product, name)
        if not (
            isinstance(value, str) if kind is str else is_number(value, 0) and (kind is float or type(value) is int)
        ):
            raise ValueError(f"{name} must be a {'text' if kind is str else 'number from 0'}, got {str(value)[:80]!r}")
    if problem := id_problem(product.product_id):
        raise ValueError(f"product_id {problem}")
    return product


def _prior_mean(catalogue: tuple[Product, ...], rating_base: Float32) -> float:
    """μ of the shrunk item means, which format 1 does not name: solved for in each product's mean, then the median."""
    counts = np.array([product.review_count for product in catalogue], np.float64)
    means = np.array([product.mean_rating for product in catalogue], np.float64)
    priors = (rating_base * (counts + PRIOR_REVIEWS) - counts * means) / PRIOR_REVIEWS
    return float(np.clip(np.median(priors), 0, 5))


def activations_of(weights: TwoTowerWeights) -> dict[str, tuple[str, ...]]:
    """The manifest's ``activations`` of a network."""
    return {part: tuple(layer.activation for layer in getattr(weights, part)) for part in PARTS}


def scoring_of(scoring: Scoring) -> dict[str, Any]:
    """The manifest's ``scoring``: the kind and its scalars."""
    if isinstance(scoring, LiftScoring):
        names = [f.name for f in dataclasses.fields(scoring) if f.name not in SCORING_ARRAYS]
        return {"kind": "lift", **{name: getattr(scoring, name) for name in names}}
    return {"kind": "rating"}


def list_releases(root: Path) -> list[Manifest]:
    """Manifests of the readable releases under `root`, newest first; whatever does not parse is left out."""
    manifests = []
    for path in root.glob(f"*/{MANIFEST}"):
        try:
            manifest = Manifest.read(path.parent)
        except (ReleaseInvalid, NotFound):
            continue
        if manifest.release_id == path.parent.name:
            manifests.append(manifest)
    return sorted(manifests, key=lambda m: (m.created_at, m.release_id), reverse=True)
