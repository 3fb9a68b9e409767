"""Writing a release: to a temporary directory beside its place, fsynced and renamed.

So it is there whole or not at all.
"""

import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from twotower.als import ItemFactors
from twotower.errors import NotFound, ReleaseInvalid, TwotowerError
from twotower.features import ANONYMOUS_NAMES, BERT_COLUMNS, BERT_DIM, Float32, Int16, quantize
from twotower.model import TwoTowerWeights, product_fusion, run_layers
from twotower.release import (
    ENCODERS,
    MANIFEST,
    PARTS,
    SCORING_ARRAYS,
    TEMPORARY_PREFIX,
    Golden,
    Manifest,
    Product,
    Release,
    activations_of,
    als_id,
    scoring_of,
    sha256_of,
)
from twotower.release_manifest import SIGNATURE, manifest_bytes
from twotower.release_signature import verify_signature
from twotower.release_users import users_root
from twotower.scoring import LiftScoring, Scoring
from twotower.temporary_folders import TemporaryFolder, fsync, fsync_tree, remove_abandoned
from twotower.users_writer import UsersWriter

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class ReleaseContents:
    """What every release holds, whoever makes it; a trained one has users and Keras files besides.

    Attributes:
        preset: name of the recipe.
        weights: the network.
        space: the item factors.
        global_mean: (384,) float32, mean review embedding of the training period.
        catalogue: the products, in index order.
        product_rows: (products, 448) float32, what the product tower takes.
        scoring: how the network's output becomes score and predicted rating.
        golden: requests with the answers of the full network.
        golden_tolerance: largest difference allowed when they are replayed.
        encoder_path: folder of the text encoder.
        encoder_id: its content id.
        golden_texts: texts to replay, with their vectors, (texts, 384) int16.
        anonymous_names: names that strangers share.
        metrics, dataset, versions: for the manifest.
    """

    preset: str
    weights: TwoTowerWeights
    space: ItemFactors
    global_mean: Float32
    catalogue: Sequence[Product]
    product_rows: Float32
    scoring: Scoring
    golden: Golden
    golden_tolerance: float
    encoder_path: Path
    encoder_id: str
    golden_texts: tuple[Sequence[str], Int16] = ((), np.zeros((0, BERT_DIM), np.int16))
    anonymous_names: tuple[str, ...] = ANONYMOUS_NAMES
    metrics: Mapping[str, Any] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def manifest(self) -> Manifest:
        """The manifest, but for what only the written files tell: their checksums, and so the id."""
        return Manifest(
            preset=self.preset,
            encoder_id=self.encoder_id,
            als_id=als_id(self.space, [product.product_id for product in self.catalogue]),
            product_count=len(self.catalogue),
            regularization=self.space.regularization,
            confidence_per_star=self.space.confidence_per_star,
            anonymous_names=self.anonymous_names,
            activations=activations_of(self.weights),
            scoring=scoring_of(self.scoring),
            golden_tolerance=self.golden_tolerance,
            metrics=self.metrics,
            dataset=self.dataset,
            versions=self.versions,
        )


class WriteFailed(TwotowerError):
    """A disk that is full, read-only or failing."""


class ReleaseWriter:
    """Writes one release; a context manager that leaves nothing behind unless :meth:`commit` was reached.

    Args:
        root: folder of releases; made if missing.
        users: folder of users; the one beside `root` if None.
        signing_key: signs the manifest if given.

    Raises:
        WriteFailed: on leaving, in place of an error of the file system.
    """

    def __init__(self, root: Path, users: Path | None = None, signing_key: "Ed25519PrivateKey | None" = None) -> None:
        self._root = root
        self._users_root = users or users_root(root)
        self._signing_key = signing_key
        self._users: UsersWriter | None = None
        self._stack = ExitStack()
        self._parents: list[Path] = []
        self._trees: list[Path] = []

    def __enter__(self) -> Self:
        self._parents = [path for path in (*reversed(self._root.parents), self._root) if not path.exists()]
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self._root / ENCODERS, TEMPORARY_PREFIX)
            self._folder = self._stack.enter_context(TemporaryFolder(self._root, TEMPORARY_PREFIX))
        except OSError as error:
            self._undo()
            raise self._failed(error) from error
        self._directory = self._folder.tree
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is not None:
            self._undo()
        if isinstance(error, OSError | SafetensorError):
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> WriteFailed:
        return WriteFailed(f"{self._root}: the release could not be written, and nothing of it was left: {error}")

    def _undo(self) -> None:
        """Remove what this writer made, the last first; a folder that others use by now stays."""
        for tree in reversed(self._trees):
            shutil.rmtree(tree, ignore_errors=True)
        for parent in reversed(self._parents):
            with suppress(OSError):
                parent.rmdir()

    def path(self, name: str) -> Path:
        """Where to write the file `name` (relative, may have folders)."""
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def array(self, name: str, array: NDArray[Any]) -> None:
        """Write a ``.npy`` file."""
        np.save(self.path(name), array, allow_pickle=False)

    def write(self, contents: ReleaseContents) -> None:
        """Write the files that every release has."""
        towers = run_layers(contents.weights.product_tower, contents.product_rows)
        arrays: dict[str, NDArray[Any]] = {
            "product_towers": towers,
            "product_fusion": product_fusion(contents.weights, towers),
            "product_texts": quantize(contents.product_rows[:, BERT_COLUMNS]),
            "item_factors": contents.space.factors,
            "als_gram": contents.space.gram,
            "global_mean": contents.global_mean,
        }
        if isinstance(contents.scoring, LiftScoring):
            arrays |= {f"scoring/{name}": getattr(contents.scoring, name) for name in SCORING_ARRAYS}
        arrays |= {f"golden/{item.name}": getattr(contents.golden, item.name) for item in fields(Golden)}
        texts, arrays["golden/text_fixed_point"] = contents.golden_texts
        for name, array in arrays.items():
            self.array(f"{name}.npy", array)
        self.path("golden/texts.json").write_text(json.dumps(list(texts), ensure_ascii=False) + "\n", encoding="utf-8")
        self.catalogue(contents.catalogue)
        self._weights(contents.weights)
        self._encoder(contents.encoder_path, contents.encoder_id)

    def catalogue(self, products: Sequence[Product]) -> None:
        """Write ``catalogue.jsonl``."""
        lines = (json.dumps(asdict(product), ensure_ascii=False) + "\n" for product in products)
        with self.path("catalogue.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(lines)

    def users(
        self, user_ids: Iterable[str], review_ids: Iterable[str], columns: Mapping[str, Iterable[NDArray[Any]]]
    ) -> None:
        """Write the users of the release, as :meth:`twotower.users_writer.UsersWriter.write`."""
        self._users = self._stack.enter_context(UsersWriter(self._users_root))
        self._users.write(user_ids, review_ids, columns)

    def _weights(self, weights: TwoTowerWeights) -> None:
        """Write ``weights.safetensors``; the activations go into the manifest."""
        tensors = {
            f"{part}.{index}.{name}": np.ascontiguousarray(getattr(layer, name))
            for part in PARTS
            for index, layer in enumerate(getattr(weights, part))
            for name in ("kernel", "bias")
        }
        save_file(tensors, self.path("weights.safetensors"))

    def _encoder(self, source: Path, encoder_id: str) -> None:
        """Keep the encoder once under ``<root>/encoders``, and link it into the release.

        Where links can't be had it is copied.
        """
        shared = self._root / ENCODERS / encoder_id
        if not _same_files(source, shared):
            if not shared.parent.exists():
                shared.parent.mkdir(exist_ok=True)
                self._parents.append(shared.parent)
            with TemporaryFolder(shared.parent, TEMPORARY_PREFIX) as folder:
                shutil.copytree(source, folder.tree, dirs_exist_ok=True)
                folder.tree.chmod(0o755)
                fsync_tree(folder.tree)
                if not shared.exists():
                    self._trees.append(shared)
                folder.replace(shared)
        for file in sorted(source.iterdir()):
            target = self.path(f"encoder/{file.name}")
            try:
                os.link(shared / file.name, target)
            except OSError:
                shutil.copy2(file, target)

    def commit(self, manifest: Manifest) -> Release:
        """Hash every file, write the manifest, fsync, rename.

        Writing the same content again finds it there and changes nothing; what was damaged since is replaced.
        """
        paths = sorted(path for path in self._directory.rglob("*") if path.is_file())
        files = {
            str(p.relative_to(self._directory)): {"sha256": sha256_of(p), "bytes": p.stat().st_size} for p in paths
        }
        manifest = replace(manifest, files=files, has_users=self._users is not None)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = replace(manifest, release_id=manifest.content_id(), created_at=now)
        self._write_manifest(manifest)
        self._directory.chmod(0o755)
        fsync_tree(self._directory)
        if self._users:
            if not (self._users_root / manifest.release_id).exists():
                self._trees.append(self._users_root / manifest.release_id)
            self._users.commit(manifest.release_id)
        target = self._root / manifest.release_id
        if not self._is_sound(target):
            if not target.exists():
                self._trees.append(target)
            self._folder.replace(target)
            fsync(self._root)
        return Release.open(target, users=self._users_root)

    def _write_manifest(self, manifest: Manifest) -> None:
        data = manifest.to_json().encode()
        (self._directory / MANIFEST).write_bytes(data)
        if self._signing_key is not None:
            (self._directory / SIGNATURE).write_bytes(self._signing_key.sign(data))

    def _is_sound(self, path: Path) -> bool:
        """Whether the whole release is there already, signed by the key if there is one."""
        try:
            Release.open(path)
            if self._signing_key is not None:
                verify_signature(path, manifest_bytes(path), self._signing_key.public_key())
        except (NotFound, ReleaseInvalid, OSError):
            return False
        return True


def _same_files(source: Path, copy: Path) -> bool:
    """Whether a folder holds the files of another, byte for byte."""
    return all(
        (copy / file.name).is_file() and filecmp.cmp(file, copy / file.name, shallow=False) for file in source.iterdir()
    )
