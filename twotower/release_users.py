"""Users of a release: what the trainer knows of every user and the embedding service imports.

They are kept apart from the release, in ``<releases>/../users/<release id>/``, which nobody but the trainer reads
(docs/adr/0030-users-are-kept-apart.md); releases of the formats 1 and 2 had them in a folder of their own.
docs/formats/release.md describes the files. Columns hold one value per user or per review; a user's reviews are
contiguous and in time order.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from twotower.errors import ReleaseInvalid
from twotower.features import ALS_DIM, BERT_DIM, Float32, Int16, Int32, Int64

UNDATED: Final = int(np.iinfo(np.int64).max)
"""Time of a review whose date is not known: after all others."""
USERS: Final = "users"
USERS_MANIFEST: Final = "users.json"
USER_IDS: Final = "user_ids.jsonl"
REVIEW_IDS: Final = "review_ids.jsonl"
USER_ARRAYS: Final[dict[str, tuple[type, tuple[int, ...]]]] = {
    "review_offsets": (np.int64, ()),
    "products": (np.int32, ()),
    "ratings": (np.float32, ()),
    "times_us": (np.int64, ()),
    "fixed_point": (np.int16, (BERT_DIM,)),
    "als": (np.float32, (ALS_DIM,)),
}
"""Array → its dtype, and the shape of one of its rows."""
USER_FILES: Final = (USER_IDS, REVIEW_IDS, *(f"{name}.npy" for name in USER_ARRAYS))


def user_array(name: str) -> str:
    """The file of an array of :data:`USER_ARRAYS`."""
    return f"{name}.npy"


def users_root(releases: Path) -> Path:
    """Where the users of the releases in a folder are kept if nothing else is said."""
    return releases.resolve().parent / USERS


def users_folder(release: Path, root: Path | None = None) -> Path:
    """Folder with the users of a release; in the release itself if it is of an old format."""
    path = release.resolve()
    own = path / USERS
    return own if root is None and own.is_dir() else (root or users_root(path.parent)) / path.name


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Map a ``.npy`` file read-only.

    Raises:
        ReleaseInvalid: it is none, or holds less than its header says.
    """
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # the header is parsed as Python: whatever that makes of a crafted one
        raise ReleaseInvalid(f"{name}: {error}") from error
    return array


@dataclass(frozen=True)
class ReleaseUsers:
    """Users and their reviews.

    Attributes:
        path: folder of the files.
        review_offsets: (users + 1,) int64, where each user's reviews start.
        products: (reviews,) int32 catalogue rows.
        ratings: (reviews,) float32 stars.
        times_us: (reviews,) int64 µs since 1970, or :data:`UNDATED`.
        fixed_point: (reviews, 384) int16 embeddings.
        als: (users, 64) float32, folded in from all reviews of each user.
    """

    path: Path
    review_offsets: Int64
    products: Int32
    ratings: Float32
    times_us: Int64
    fixed_point: Int16
    als: Float32

    def __len__(self) -> int:
        return len(self.review_offsets) - 1

    @classmethod
    def none(cls) -> Self:
        """Users of a release that knows none."""
        columns: dict[str, Any] = {name: np.zeros((0, *shape), kind) for name, (kind, shape) in USER_ARRAYS.items()}
        return cls(Path(os.devnull), **columns | {"review_offsets": np.zeros(1, np.int64)})

    @classmethod
    def open(cls, path: Path, release_id: str, product_count: int) -> Self:
        """Open the users of a release and verify their files.

        Raises:
            ReleaseInvalid: they are not there, damaged, or of another release.
        """
        files = read_users_manifest(path)
        if files.release_id != release_id:
            raise ReleaseInvalid(f"{path / USERS_MANIFEST}: is of the release {files.release_id!r}, not {release_id}")
        for name in USER_FILES:
            if files.sha256.get(name) != _sha256(path / name):
                raise ReleaseInvalid(f"{path / name}: is not the file that {USERS_MANIFEST} lists")
        return cls.read(path, lambda name: path / name, product_count)

    @classmethod
    def read(cls, path: Path, file: Callable[[str], Path], product_count: int) -> Self:
        """Map the arrays.

        Args:
            path: their folder.
            file: file name → where it is, if it may be read.
            product_count: products of the release's catalogue.

        Raises:
            ReleaseInvalid: they do not fit each other.
        """
        for name in (USER_IDS, REVIEW_IDS):
            file(name)
        columns: dict[str, Any] = {name: read_array(file(user_array(name)), user_array(name)) for name in USER_ARRAYS}
        for name, (kind, shape) in USER_ARRAYS.items():
            if columns[name].dtype != kind or columns[name].shape[1:] != shape or columns[name].ndim != 1 + len(shape):
                raise ReleaseInvalid(f"{USERS}/{user_array(name)}: must be {np.dtype(kind)}, one row {shape}")
        users = cls(path, **columns)
        offsets = users.review_offsets
        reviews = {len(column) for column in (users.products, users.ratings, users.times_us, users.fixed_point)}
        if not len(offsets) or reviews != {int(offsets[-1])} or len(users.als) != len(users):
            raise ReleaseInvalid(f"{USERS}/: its arrays have different lengths")
        if offsets[0] or (np.diff(offsets) < 0).any():
            raise ReleaseInvalid(f"{USERS}/review_offsets.npy: must begin with 0 and never fall")
        if len(users.products) and not 0 <= users.products.min() <= users.products.max() < product_count:
            raise ReleaseInvalid(f"{USERS}/products.npy: must be rows of the catalogue")
        return users

    def reviews_of(self, user: int) -> slice:
        """Rows of a user's reviews."""
        return slice(int(self.review_offsets[user]), int(self.review_offsets[user + 1]))

    def user_ids(self) -> Iterator[str]:
        """Names, in order; read line by line.

        Raises:
            ReleaseInvalid: at a line that is no JSON string, or where there are more or fewer than users.
        """
        return self._lines(USER_IDS, len(self))

    def review_ids(self) -> Iterator[str]:
        """Ids of the reviews, in order; read line by line.

        Raises:
            ReleaseInvalid: at a line that is no JSON string, or where there are more or fewer than reviews.
        """
        return self._lines(REVIEW_IDS, len(self.products))

    def _lines(self, name: str, count: int) -> Iterator[str]:
        if not count:
            return
        number = 0
        try:
            with (self.path / name).open(encoding="utf-8") as file:
                for number, line in enumerate(file, start=1):
                    value = json.loads(line)
                    if not isinstance(value, str) or number > count:
                        raise ValueError("must be a JSON string" if number <= count else f"must be {count} lines")
                    yield value
            if number != count:
                raise ValueError(f"must be {count} lines")
        except (OSError, ValueError, RecursionError) as error:
            raise ReleaseInvalid(f"{USERS}/{name}: line {number}: {error}") from error


@dataclass(frozen=True)
class UsersManifest:
    """``users.json``: what is in a folder of users.

    Attributes:
        release_id: whose users they are.
        created_at: ISO 8601, UTC.
        sha256: file → hex sha256.
    """

    release_id: str
    created_at: str
    sha256: Mapping[str, str]


def read_users_manifest(path: Path) -> UsersManifest:
    """Read ``users.json`` of a folder of users.

    Raises:
        ReleaseInvalid: it is not there or none; says where it was looked for.
    """
    try:
        raw = json.loads((path / USERS_MANIFEST).read_text(encoding="utf-8"))
        manifest = UsersManifest(**raw)
    except FileNotFoundError as error:
        message = "is not there: its users were removed, or are elsewhere (--users); train again to have them"
        raise ReleaseInvalid(f"{path / USERS_MANIFEST}: {message}") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ReleaseInvalid(f"{path / USERS_MANIFEST}: {error}") from error
    if not isinstance(manifest.sha256, dict) or not isinstance(manifest.created_at, str):
        raise ReleaseInvalid(f"{path / USERS_MANIFEST}: must have sha256 and created_at")
    return manifest


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ReleaseInvalid(f"{path}: can't be read: {error}") from error
