"""The release format: an immutable directory, named by its content, that holds all that serving needs.

Layout (docs/formats/release.md has every file)::

    <root>/<release_id>/manifest.json        ids, dims, sha256 of every file, metrics, dataset, golden requests
                        weights.safetensors  towers and fusion head
                        product_fusion.npy … item_factors.npy … catalogue.jsonl … golden/ … encoder/ … users/
    <root>/encoders/<encoder_id>/            each encoder once; a release's encoder/ is hard links to it

It is written by :class:`twotower.release_writer.ReleaseWriter`. Nothing in it is ever unpickled.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from twotower.als import ItemFactors
from twotower.errors import NotFound, ReleaseInvalid
from twotower.features import (
    ALS_DIM,
    BERT_DIM,
    PRODUCT_DIM,
    PRODUCT_INPUTS,
    TOWER_DIM,
    USER_DIM,
    USER_INPUTS,
    Float32,
    Int16,
    Int64,
)
from twotower.model import Dense, TwoTowerWeights
from twotower.release_users import ReleaseUsers
from twotower.scoring import PRIOR_REVIEWS, LiftScoring, RatingScoring, Scoring

FORMAT_VERSION: Final = 2
"""Version 2 added the manifest's ``row_layout`` and the prior mean of a lift; version 1 can still be read."""
MANIFEST: Final = "manifest.json"
ENCODERS: Final = "encoders"
TEMPORARY_PREFIX: Final = ".writing-"
SCORING_ARRAYS: Final = ("cold_scores", "rating_base", "log_popularity")
PARTS: Final = ("user_tower", "product_tower", "fusion")
ROW_LAYOUT: Final = {"user": tuple(USER_INPUTS.items()), "product": tuple(PRODUCT_INPUTS.items())}
"""What the columns of a user row and of a product row are: names and widths, in order."""
_FORMAT_1_LACKS: Final = frozenset({"row_layout"})
_CHUNK_BYTES: Final = 128 * 1024
_LINES_AT_ONCE: Final = 50


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


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``.

    Attributes:
        preset: name of the recipe.
        encoder_id: content id of the encoder.
        als_id: content id of the ALS space.
        product_count: products in the catalogue.
        regularization: ALS λ.
        confidence_per_star: ALS confidence of one star.
        anonymous_names: names that never accumulate state.
        activations: for each part of the network, the activation of each of its layers.
        scoring: ``{"kind": "rating"}``, or ``lift`` with the scalars of :class:`~twotower.scoring.LiftScoring`, whose
            arrays are under ``scoring/``.
        golden_tolerance: largest difference allowed when the golden requests are replayed.
        metrics: training and validation figures.
        dataset: fingerprint and counts of the review file.
        versions: the libraries that made it.
        row_layout: names and widths of the columns of a user row and of a product row, in order.
        files: relative path → {"sha256", "bytes"}; of every file but the manifest.
        format_version: of this layout.
        release_id: content id; "" until written.
        created_at: ISO 8601, UTC; not part of the id.
    """

    preset: str
    encoder_id: str
    als_id: str
    product_count: int
    regularization: float
    confidence_per_star: float
    anonymous_names: tuple[str, ...]
    activations: Mapping[str, tuple[str, ...]]
    scoring: Mapping[str, Any]
    golden_tolerance: float
    metrics: Mapping[str, Any]
    dataset: Mapping[str, Any]
    versions: Mapping[str, str]
    row_layout: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=lambda: dict(ROW_LAYOUT))
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    release_id: str = ""
    created_at: str = ""

    def to_json(self) -> str:
        """Canonical text: sorted keys, two spaces."""
        return json.dumps(self._fields(), sort_keys=True, indent=2, ensure_ascii=False) + "\n"

    def content_id(self) -> str:
        """``<preset>-<first 12 hex digits of the sha256 of everything but id and time>``."""
        content = {k: v for k, v in self._fields().items() if k not in ("release_id", "created_at")}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{self.preset}-{digest[:12]}"

    def _fields(self) -> dict[str, Any]:
        """What its format version has."""
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if self.format_version > 1 or k not in _FORMAT_1_LACKS}

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read the manifest of a release directory.

        Raises:
            NotFound: no such release.
            ReleaseInvalid: it is no manifest.
        """
        try:
            return cls.from_json((path / MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"no release at {path.name!r}: it has no {MANIFEST}") from error
        except UnicodeDecodeError as error:
            raise ReleaseInvalid(f"{MANIFEST}: not UTF-8") from error

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse and check.

        Raises:
            ReleaseInvalid: not JSON, of another format version, a key missing, or the id is not that of the content.
        """
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise ReleaseInvalid(f"{MANIFEST}: not JSON: {error}") from error
        if not isinstance(raw, dict):
            raise ReleaseInvalid(f"{MANIFEST}: must be an object")
        version: Any = raw.get("format_version")
        if version not in range(1, FORMAT_VERSION + 1):
            raise ReleaseInvalid(f"{MANIFEST}: format_version is {version!r}, this version reads 1 to {FORMAT_VERSION}")
        names = {f.name for f in dataclasses.fields(cls)} - (_FORMAT_1_LACKS if version == 1 else frozenset())
        if names != raw.keys():
            raise ReleaseInvalid(
                f"{MANIFEST}: missing keys {sorted(names - raw.keys())}, unknown keys {sorted(raw.keys() - names)}"
            )
        try:
            raw["anonymous_names"] = tuple(raw["anonymous_names"])
            raw["activations"] = {part: tuple(names) for part, names in raw["activations"].items()}
            if version > 1:
                raw["row_layout"] = {
                    side: tuple((name, width) for name, width in row) for side, row in raw["row_layout"].items()
                }
        except (AttributeError, TypeError, ValueError) as error:
            raise ReleaseInvalid(f"{MANIFEST}: a value is not of its key's form: {error}") from error
        manifest = cls(**raw)
        if manifest.content_id() != manifest.release_id:
            raise ReleaseInvalid(
                f"{MANIFEST}: release_id {manifest.release_id} is not the id of its content, {manifest.content_id()}"
            )
        return manifest


def no_pause() -> None:
    """For a process that has nothing else to do."""


def als_id(space: ItemFactors, product_ids: list[str]) -> str:
    """Content id of an ALS space: factors, constants and the products that the rows stand for."""
    digest = hashlib.sha256(space.factors.astype("<f4").tobytes())
    digest.update(json.dumps([space.regularization, space.confidence_per_star, product_ids]).encode())
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

    def __init__(self, path: Path, manifest: Manifest, pause: Callable[[], object] = no_pause) -> None:
        self.path = path
        self.manifest = manifest
        self._pause = pause

    @classmethod
    def open(cls, path: Path, *, verify: bool = True, pause: Callable[[], object] = no_pause) -> "Release":
        """Open a release directory.

        Args:
            path: the directory.
            verify: compare size and sha256 of every file with the manifest.
            pause: called between pieces of work of a fifth of a millisecond or so; a server that answers requests
                meanwhile sleeps in it.

        Raises:
            NotFound: no such release.
            ReleaseInvalid: naming the file that is missing, truncated, edited or of the wrong shape.
        """
        release = cls(path, Manifest.read(path), pause)
        if verify:
            release._verify_files()
        release._verify_shapes()
        return release

    @property
    def release_id(self) -> str:
        """Content id."""
        return self.manifest.release_id

    @property
    def encoder_path(self) -> Path:
        """Folder of the text encoder."""
        return self.path / "encoder"

    @cached_property
    def weights(self) -> TwoTowerWeights:
        """Towers and fusion head."""
        try:
            tensors = load_file(self.path / "weights.safetensors")
            parts = {
                part: tuple(
                    Dense(tensors[f"{part}.{i}.kernel"], tensors[f"{part}.{i}.bias"], activation)  # type: ignore[arg-type]
                    for i, activation in enumerate(self.manifest.activations[part])
                )
                for part in PARTS
            }
        except (SafetensorError, KeyError) as error:
            raise ReleaseInvalid(f"weights.safetensors: {error}") from error
        return TwoTowerWeights(**parts)

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
    def product_fusion(self) -> Float32:
        """(products, units) float32: the product's half of the first fusion layer."""
        return self.array("product_fusion.npy")

    @cached_property
    def catalogue(self) -> tuple[Product, ...]:
        """The products, in index order."""
        products: list[Product] = []
        with (self.path / "catalogue.jsonl").open(encoding="utf-8") as file:
            while lines := list(itertools.islice(file, _LINES_AT_ONCE)):
                products += [Product(**json.loads(line)) for line in lines]
                self._pause()
        return tuple(products)

    @cached_property
    def scoring(self) -> Scoring:
        """How scores and ratings come from the network's output."""
        scalars = dict(self.manifest.scoring)
        kind = scalars.pop("kind", None)
        try:
            if kind == "rating":
                return RatingScoring(**scalars)
            if kind == "lift":
                arrays: dict[str, Any] = {
                    name: np.asarray(self.array(f"scoring/{name}.npy")) for name in SCORING_ARRAYS
                }
                if self.manifest.format_version == 1:
                    scalars["prior_mean"] = _prior_mean(self.catalogue, arrays["rating_base"])
                return LiftScoring(**scalars, **arrays)
        except TypeError as error:
            raise ReleaseInvalid(f"{MANIFEST}: scoring: {error}") from error
        raise ReleaseInvalid(f"{MANIFEST}: scoring.kind {kind!r} is not known")

    @cached_property
    def golden(self) -> Golden:
        """The golden requests."""
        return Golden(**{item.name: self.array(f"golden/{item.name}.npy") for item in dataclasses.fields(Golden)})

    @cached_property
    def golden_texts(self) -> tuple[list[str], Int16]:
        """Texts and their fixed-point embeddings, (texts, 384) int16."""
        texts = json.loads((self.path / "golden/texts.json").read_text(encoding="utf-8"))
        return texts, self.array("golden/text_fixed_point.npy")

    @cached_property
    def users(self) -> ReleaseUsers:
        """Users and their reviews.

        Raises:
            ReleaseInvalid: their arrays do not fit each other.
        """
        return ReleaseUsers.read(self.path, self.array)

    def array(self, name: str) -> NDArray[Any]:
        """A ``.npy`` file, mapped read-only."""
        try:
            array: NDArray[Any] = np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ReleaseInvalid(f"{name}: {error}") from error
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
        for name, expected in self.manifest.files.items():
            file = self.path / name
            if not file.is_file():
                raise ReleaseInvalid(f"{name}: missing")
            if file.stat().st_size != expected["bytes"]:
                raise ReleaseInvalid(f"{name}: {file.stat().st_size} bytes, the manifest says {expected['bytes']}")
            if sha256_of(file, self._pause) != expected["sha256"]:
                raise ReleaseInvalid(f"{name}: its sha256 is not the manifest's")

    def _verify_shapes(self) -> None:
        if self.manifest.row_layout != ROW_LAYOUT:
            raise ReleaseInvalid(
                f"{MANIFEST}: row_layout is {dict(self.manifest.row_layout)}, this version serves {ROW_LAYOUT}"
            )
        count = self.manifest.product_count
        weights = self.weights
        if weights.user_tower[0].kernel.shape[0] != USER_DIM or weights.product_tower[0].kernel.shape[0] != PRODUCT_DIM:
            raise ReleaseInvalid("weights.safetensors: a tower does not take the contracted inputs")
        units = weights.fusion[0].kernel.shape[1]
        for name, shape in (
            ("item_factors.npy", (count, ALS_DIM)),
            ("product_towers.npy", (count, TOWER_DIM)),
            ("product_fusion.npy", (count, units)),
            ("global_mean.npy", (BERT_DIM,)),
            *((f"scoring/{item}.npy", (count,)) for item in SCORING_ARRAYS if isinstance(self.scoring, LiftScoring)),
        ):
            if self.array(name).shape != shape:
                raise ReleaseInvalid(f"{name}: shape {self.array(name).shape}, expected {shape}")
        if len(self.catalogue) != count:
            raise ReleaseInvalid(f"catalogue.jsonl: {len(self.catalogue)} products, the manifest says {count}")


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
        if path.parent.name.startswith(TEMPORARY_PREFIX):
            continue
        try:
            manifests.append(Manifest.from_json(path.read_text(encoding="utf-8")))
        except (ReleaseInvalid, UnicodeDecodeError, OSError):
            continue
    return sorted(manifests, key=lambda m: (m.created_at, m.release_id), reverse=True)
