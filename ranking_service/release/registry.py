"""Where releases, their labels and added products are kept: a folder, or an object store that is mirrored into one."""

import contextlib
import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from twotower.errors import FieldViolation, InvalidArgument, NotFound, ReleaseInvalid
from twotower.release import MANIFEST, SIGNATURE, Manifest, is_served, list_releases, sha256_of
from twotower.temporary_folders import TemporaryFolder, fsync

_PACKAGES: Final = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "adl": "adlfs",
    "oss": "ossfs",
    "hdfs": "pyarrow",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "http": "aiohttp",
    "https": "aiohttp",
    "webdav": "webdav4",
    "hf": "huggingface_hub",
}
"""What fsspec needs for a protocol."""
_LOCK_TIMEOUT_S: Final = 10.0
_LOCK_POLL_S: Final = 0.02
_TEMPORARY_PREFIX: Final = ".mirroring-"
_RELEASE_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Registry(Protocol):
    """Releases by id, and small files beside them. Everything here blocks: call it off the event loop."""

    def fetch(self, release_id: str) -> Path:
        """Return a local folder with the release, not verified; raises NotFound."""

    def manifests(self) -> list[Manifest]:
        """Return the manifests that can be read, newest first."""

    def read(self, name: str) -> bytes | None:
        """Read a small file; None if there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a small file at once and whole; raises ReleaseInvalid naming it."""

    def locked(self, name: str) -> AbstractContextManager[None]:
        """Lock a small file while it is read, changed and written."""


def open_registry(url: str, cache: Path, state: Path | None = None) -> Registry:
    """Open the registry at a path, or at any URL that fsspec knows, such as ``s3://bucket/releases``.

    Args:
        url: of the folder of releases.
        cache: local folder for copies of what comes from an object store.
        state: folder of the small files of a folder of releases; beside the releases if None.
    """
    path = url.removeprefix("file://")
    return MirroredRegistry(url, cache) if "://" in path else FolderRegistry(Path(path), state)


class FolderRegistry:
    """A folder of releases, and a folder of small files, which is the same one if None is given."""

    def __init__(self, root: Path, state: Path | None = None) -> None:
        self._root = root
        self._state = state or root

    def fetch(self, release_id: str) -> Path:
        """Return the release's own folder, whether it exists or not."""
        return self._root / release_id

    def manifests(self) -> list[Manifest]:
        """Return the manifests that can be read, newest first."""
        return list_releases(self._root)

    def read(self, name: str) -> bytes | None:
        """Read a small file."""
        try:
            return (self._state / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write beside the file, fsync and rename."""
        temporary = self._state / f".{name}-{uuid.uuid4().hex}"  # two containers may have the same process id
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._state / name)
            fsync(self._state)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise ReleaseInvalid(f"{name}: can't be written beside the releases: {error.strerror}") from error

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Lock the file for all processes that share the folder.

        Raises:
            ReleaseInvalid: another process holds the lock for 10 seconds, or it can't be made.
        """
        try:
            file = (self._state / f".{name}.lock").open("wb")
        except OSError as error:
            raise ReleaseInvalid(f"{name}: can't be locked: {error.strerror}") from error
        with file:
            deadline = time.monotonic() + _LOCK_TIMEOUT_S
            while not _is_locked(file):
                if time.monotonic() > deadline:
                    raise ReleaseInvalid(f"{name}: another process has locked it for {_LOCK_TIMEOUT_S:g} s")
                time.sleep(_LOCK_POLL_S)
            yield


def _is_locked(file: BinaryIO) -> bool:
    """Try to lock a file."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class MirroredRegistry:
    """An object store behind fsspec; a release is copied into a local folder and verified there.

    Args:
        url: of the folder of releases.
        cache: local folder for copies; a release that is there is not fetched again.
    """

    def __init__(self, url: str, cache: Path) -> None:
        import fsspec

        self._files: Any
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InvalidArgument([FieldViolation("releases", _why_unknown(url, error))]) from error
        self._cache = cache

    def fetch(self, release_id: str) -> Path:
        """Copy a release, whole or not at all, unless a copy is there; a damaged copy is replaced."""
        target = self._cache / release_id
        if (target / MANIFEST).exists() and self._complete(target) and self._is_signed_as_stored(target):
            return target
        self._files.invalidate_cache()
        data = self.read(f"{release_id}/{MANIFEST}")
        if data is None:
            raise NotFound(f"no release at {release_id!r}: it has no {MANIFEST}")
        manifest = Manifest.from_bytes(data)
        self._cache.mkdir(parents=True, exist_ok=True)
        with TemporaryFolder(self._cache, _TEMPORARY_PREFIX) as folder:
            (folder.tree / MANIFEST).write_bytes(data)
            if (signature := self.read(f"{release_id}/{SIGNATURE}")) is not None:
                (folder.tree / SIGNATURE).write_bytes(signature)
            # Only what the manifest names, each name within the folder, and of that only what ranking reads.
            for name in filter(is_served, manifest.files):
                (folder.tree / name).parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._files.get_file(self._path(f"{release_id}/{name}"), str(folder.tree / name))
                except FileNotFoundError as error:
                    raise ReleaseInvalid(f"{name}: missing") from error
            # Another worker may have been faster, and may be reading its copy.
            if not folder.move(target) and not (self._complete(target) and self._is_signed_as_stored(target)):
                folder.replace(target)
        return target

    def _is_signed_as_stored(self, copy: Path) -> bool:
        """Whether a copy has the signature of the original, which may be signed later; yes if that can't be asked."""
        try:
            stored = self.read(f"{copy.name}/{SIGNATURE}")
        except (ReleaseInvalid, OSError):
            return True
        try:
            return stored is None or (copy / SIGNATURE).read_bytes() == stored
        except FileNotFoundError:
            return False

    def manifests(self) -> list[Manifest]:
        """Return the manifests that can be read, newest first.

        Raises:
            ReleaseInvalid: the store does not let its folder be listed.
        """
        manifests = []
        self._files.invalidate_cache()  # fsspec remembers listings, and releases come from elsewhere
        try:
            names = self._files.glob(f"{self._root}/*/{MANIFEST}")
        except PermissionError as error:
            raise ReleaseInvalid(f"releases: {self._root} may not be listed: {error}") from error
        for name in names:
            with contextlib.suppress(ReleaseInvalid, OSError):
                manifests.append(Manifest.from_bytes(self._files.cat_file(name)))
        return sorted(manifests, key=lambda manifest: (manifest.created_at, manifest.release_id), reverse=True)

    def read(self, name: str) -> bytes | None:
        """Read a small object.

        Object stores answer "forbidden" for a missing object if the caller may not list the bucket.

        Raises:
            ReleaseInvalid: the object is there and may not be read.
        """
        try:
            data: bytes = self._files.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        except PermissionError as error:
            if self._is_listed(name):
                raise ReleaseInvalid(f"{name}: may not be read beside the releases: {error}") from error
            return None
        return data

    def _is_listed(self, name: str) -> bool:
        self._files.invalidate_cache()
        path = self._path(name)
        try:
            return path in self._files.ls(path.rpartition("/")[0], detail=False)
        except (FileNotFoundError, PermissionError):
            return False

    def write(self, name: str, data: bytes) -> None:
        """Write by one put: object stores replace an object at once."""
        try:
            self._files.pipe_file(self._path(name), data)
        except OSError as error:
            raise ReleaseInvalid(f"{name}: can't be written beside the releases: {error}") from error

    def locked(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002 - object stores have no locks: the last writer wins
        """Lock nothing."""
        return contextlib.nullcontext()

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _complete(self, folder: Path) -> bool:
        """Whether every file that ranking reads is the manifest's."""
        with contextlib.suppress(ReleaseInvalid, OSError):
            files = Manifest.read(folder).files
            return all(
                (folder / name).stat().st_size == files[name]["bytes"]
                and sha256_of(folder / name) == files[name]["sha256"]
                for name in filter(is_served, files)
            )
        return False


def _why_unknown(url: str, error: Exception) -> str:
    """Say which package a URL needs."""
    protocol = url.partition("://")[0]
    package = _PACKAGES.get(protocol)
    if isinstance(error, ImportError):
        return f"{protocol}:// needs a package that is not installed: `pip install {package or protocol}` ({error})"
    return f"must be a folder, or a URL that fsspec knows, such as s3://bucket/releases, got {url!r}: {error}"


def check_release_id(release_id: str) -> None:
    """Refuse a name that could lead out of the folder of releases.

    Raises:
        InvalidArgument: naming the field ``release_id``.
    """
    if not _RELEASE_ID.fullmatch(release_id):
        problem = f"must be 1 to 128 letters, digits, '.', '_' or '-', got {release_id[:140]!r}"
        raise InvalidArgument([FieldViolation("release_id", problem)])
