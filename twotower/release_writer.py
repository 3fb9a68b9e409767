"""Writing a release: to a temporary directory beside its place, fsynced and renamed, so that it is there whole or not
at all.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from twotower.model import TwoTowerWeights
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
    sha256_of,
)
from twotower.scoring import LiftScoring, Scoring


class ReleaseWriter:
    """Writes one release; a context manager that leaves nothing behind unless :meth:`commit` was reached.

    Args:
        root: folder of releases; made if missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> Self:
        self._root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(self._root)
        self._directory = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{os.getpid()}-", dir=self._root))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def path(self, name: str) -> Path:
        """Where to write the file `name` (relative, may have folders)."""
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def array(self, name: str, array: NDArray[Any]) -> None:
        """Write a ``.npy`` file."""
        np.save(self.path(name), array, allow_pickle=False)

    def json(self, name: str, value: object) -> None:
        """Write a JSON file."""
        self.path(name).write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")

    def catalogue(self, products: list[Product]) -> None:
        """Write ``catalogue.jsonl``."""
        lines = (json.dumps(dataclasses.asdict(product), ensure_ascii=False) + "\n" for product in products)
        with self.path("catalogue.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(lines)

    def weights(self, weights: TwoTowerWeights) -> None:
        """Write ``weights.safetensors``; the activations go into the manifest (:func:`activations_of`)."""
        tensors = {
            f"{part}.{index}.{name}": np.ascontiguousarray(getattr(layer, name))
            for part in PARTS
            for index, layer in enumerate(getattr(weights, part))
            for name in ("kernel", "bias")
        }
        save_file(tensors, self.path("weights.safetensors"))

    def scoring(self, scoring: Scoring) -> None:
        """Write the arrays of ``scoring/``; kind and scalars go into the manifest (:func:`scoring_of`)."""
        if isinstance(scoring, LiftScoring):
            for name in SCORING_ARRAYS:
                self.array(f"scoring/{name}.npy", getattr(scoring, name))

    def golden(self, golden: Golden) -> None:
        """Write ``golden/``."""
        for item in dataclasses.fields(golden):
            self.array(f"golden/{item.name}.npy", getattr(golden, item.name))

    def encoder(self, source: Path, encoder_id: str) -> None:
        """Keep the encoder once under ``<root>/encoders`` and link it into the release (copied where links can't be
        had).
        """
        kept = self._root / ENCODERS / encoder_id
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            copy = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=kept.parent))
            shutil.copytree(source, copy, dirs_exist_ok=True)
            copy.chmod(0o755)
            _fsync_tree(copy)
            copy.rename(kept)
        for file in sorted(kept.iterdir()):
            target = self.path(f"encoder/{file.name}")
            try:
                os.link(file, target)
            except OSError:
                shutil.copy2(file, target)

    def commit(self, manifest: Manifest) -> Release:
        """Hash every file, write the manifest, fsync, rename. Writing the same content again finds it there and changes
        nothing.
        """
        paths = sorted(path for path in self._directory.rglob("*") if path.is_file())
        files = {
            str(p.relative_to(self._directory)): {"sha256": sha256_of(p), "bytes": p.stat().st_size} for p in paths
        }
        manifest = dataclasses.replace(manifest, files=files)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = dataclasses.replace(manifest, release_id=manifest.content_id(), created_at=now)
        (self._directory / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        self._directory.chmod(0o755)
        _fsync_tree(self._directory)
        target = self._root / manifest.release_id
        if not target.exists():
            self._directory.rename(target)
            _fsync(self._root)
        return Release.open(target)


def _remove_abandoned(root: Path) -> None:
    """Remove the temporary directories of writers that were killed."""
    for path in root.glob(f"{TEMPORARY_PREFIX}*"):
        pid = path.name.removeprefix(TEMPORARY_PREFIX).split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(path, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_tree(directory: Path) -> None:
    for path in (*directory.rglob("*"), directory):
        _fsync(path)
