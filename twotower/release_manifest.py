"""``manifest.json`` of a release: what it says, and the checks by which a foreign or crafted one is refused.

docs/formats/release.md describes every key.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, get_args

from twotower.errors import NotFound, ReleaseInvalid
from twotower.features import PRODUCT_INPUTS, USER_INPUTS
from twotower.model import Activation

FORMAT_VERSION: Final = 3
"""Version 2 added ``row_layout`` and the prior mean of a lift; version 3 keeps the users outside of the release.
Versions 1 and 2 can still be read.
"""
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
PARTS: Final = ("user_tower", "product_tower", "fusion")
ROW_LAYOUT: Final = {"user": tuple(USER_INPUTS.items()), "product": tuple(PRODUCT_INPUTS.items())}
"""What the columns of a user row and of a product row are: names and widths, in order."""
ENCODER_FILES: Final = ("model.xml", "model.bin", "tokenizer.json", "config.json")
"""What an encoder folder holds: OpenVINO's graph and weights, the tokenizer, the configuration."""
_LACKING: Final = {1: frozenset({"row_layout", "has_users"}), 2: frozenset({"has_users"})}
"""Format version → keys that it does not have."""
_NOT_SERVED: Final = ("encoder/", "users/", "two_tower.", "als_gram.npy", "golden/text")
_MAX_BYTES: Final = 16 * 2**20
_MAX_FILES: Final = 1000
_MAX_NAME_BYTES: Final = 1024
_RELEASE_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,114}-[0-9a-f]{12}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"(?!\.\.?(?:/|$))[^/\\\x00-\x1f]+(?:/(?!\.\.?(?:/|$))[^/\\\x00-\x1f]+)*")


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
        has_users: whether users were written for it, outside of it.
        files: relative path → {"sha256", "bytes"}; of every file but the manifest and its signature.
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
    has_users: bool = False
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
        lacking = _LACKING.get(self.format_version, frozenset())
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in lacking}

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read the manifest of a release directory.

        Raises:
            NotFound: no such release.
            ReleaseInvalid: it is no manifest.
        """
        return cls.from_bytes(manifest_bytes(path))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Parse and check, as :meth:`from_json`."""
        try:
            return cls.from_json(data.decode())
        except UnicodeDecodeError as error:
            raise ReleaseInvalid(f"{MANIFEST}: not UTF-8") from error

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse and check.

        Raises:
            ReleaseInvalid: not JSON, of another format version, a key missing, a value of another form than its key's,
                a file outside of the folder, or an id that is not that of the content.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ReleaseInvalid(f"{MANIFEST}: not JSON: {error}") from error
        if not isinstance(raw, dict):
            raise ReleaseInvalid(f"{MANIFEST}: must be an object")
        version: Any = raw.get("format_version")
        if type(version) is not int or version not in range(1, FORMAT_VERSION + 1):
            raise ReleaseInvalid(
                f"{MANIFEST}: format_version is {str(version)[:40]}, this version reads 1 to {FORMAT_VERSION}"
            )
        names = {f.name for f in dataclasses.fields(cls)} - _LACKING.get(version, frozenset())
        if names != raw.keys():
            raise ReleaseInvalid(
                f"{MANIFEST}: missing keys {sorted(names - raw.keys())}, unknown keys {sorted(raw.keys() - names)[:20]}"
            )
        for key in names & _FORMS.keys():
            has_form, form = _FORMS[key]
            if not has_form(raw[key]):
                raise ReleaseInvalid(f"{MANIFEST}: {key} must be {form}, got {json.dumps(raw[key])[:80]}")
        raw["anonymous_names"] = tuple(raw["anonymous_names"])
        raw["activations"] = {part: tuple(names) for part, names in raw["activations"].items()}
        if "row_layout" in raw:
            raw["row_layout"] = {side: tuple(map(tuple, row)) for side, row in raw["row_layout"].items()}
        manifest = cls(**raw)
        if manifest.content_id() != manifest.release_id:
            raise ReleaseInvalid(
                f"{MANIFEST}: release_id {manifest.release_id} is not the id of its content, {manifest.content_id()}"
            )
        return manifest


def manifest_bytes(path: Path) -> bytes:
    """The bytes of the manifest of a release directory.

    Raises:
        NotFound: no such release.
        ReleaseInvalid: it is far too long, or can't be read.
    """
    try:
        with (path / MANIFEST).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"no release at {path.name!r}: it has no {MANIFEST}") from error
    except (OSError, ValueError) as error:
        raise ReleaseInvalid(f"{MANIFEST}: can't be read: {error}") from error
    if len(data) > _MAX_BYTES:
        raise ReleaseInvalid(f"{MANIFEST}: must be at most {_MAX_BYTES >> 20} MiB")
    return data


def is_served(name: str) -> bool:
    """Whether ranking reads a file of a release; it has no use for users, texts, the encoder and Keras' own files."""
    return not name.startswith(_NOT_SERVED)


def is_number(value: object, low: float = -math.inf) -> bool:
    """Whether a value of JSON is a finite number from `low`."""
    return type(value) in (int, float) and math.isfinite(value) and value >= low  # type: ignore[arg-type,operator]


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_activations(value: object) -> bool:
    known = get_args(Activation)
    return (
        isinstance(value, dict)
        and value.keys() == set(PARTS)
        and all(
            isinstance(layers, list) and layers and all(name in known for name in layers) for layers in value.values()
        )
    )


def _is_layout(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(row, list)
        and all(
            isinstance(column, list) and len(column) == 2 and type(column[0]) is str and type(column[1]) is int
            for column in row
        )
        for row in value.values()
    )


def _is_time(value: object) -> bool:
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return moment.tzinfo is not None and 1970 <= moment.year < 9999


def _is_files(value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= _MAX_FILES
        and all(
            _is_name(name)
            and isinstance(entry, dict)
            and entry.keys() == {"sha256", "bytes"}
            and isinstance(entry["sha256"], str)
            and bool(_SHA256.fullmatch(entry["sha256"]))
            and type(entry["bytes"]) is int
            and entry["bytes"] >= 0
            for name, entry in value.items()
        )
    )


def _is_name(name: str) -> bool:
    """Whether a file name stays within its folder on any system."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    return size <= _MAX_NAME_BYTES and bool(_NAME.fullmatch(name)) and name not in (MANIFEST, SIGNATURE)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 256 and value.isprintable()


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_FORMS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "preset": (_is_text, "a text of printable characters"),
    "encoder_id": (_is_text, "a text of printable characters"),
    "als_id": (_is_text, "a text of printable characters"),
    "product_count": (lambda value: type(value) is int and value > 0, "a whole number from 1"),
    "regularization": (lambda value: is_number(value, 0), "a number from 0"),
    "confidence_per_star": (lambda value: is_number(value, 0), "a number from 0"),
    "anonymous_names": (_is_texts, "a list of texts"),
    "activations": (
        _is_activations,
        f"an object of {', '.join(PARTS)}, each a list of {', '.join(get_args(Activation))}",
    ),
    "scoring": (_is_object, "an object"),
    "golden_tolerance": (lambda value: is_number(value, 0), "a number from 0"),
    "metrics": (_is_object, "an object"),
    "dataset": (_is_object, "an object"),
    "versions": (_is_object, "an object"),
    "row_layout": (_is_layout, "lists of names and widths"),
    "has_users": (lambda value: isinstance(value, bool), "true or false"),
    "files": (_is_files, f"at most {_MAX_FILES} names within the folder, each with sha256 and bytes"),
    "release_id": (
        lambda value: isinstance(value, str) and bool(_RELEASE_ID.fullmatch(value)),
        "a preset and 12 hex digits",
    ),
    "created_at": (_is_time, "a time of ISO 8601 with a time zone"),
}
"""Key → whether a value has its form, and the form in words."""
