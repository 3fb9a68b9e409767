"""Review files as bytes: packed or not (told by the content), several at once, and folders of them."""

import codecs
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from twotower.errors import FieldViolation, InvalidFile

_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_XZ: Final = b"\xfd7zXZ\x00"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CHUNK_BYTES: Final = 2**20
FALLBACK_ENCODING: Final = "cp1252"


def refused(path: object, field: str, message: str) -> InvalidFile:
    """The error that says one thing of a file."""
    return InvalidFile(path, [FieldViolation(field, message)])


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant: a folder means those in it, in the order of their names, hidden ones left out.

    Raises:
        InvalidFile: no such file, or an empty folder.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
            if not inside:
                raise refused(path, "file", "the folder has no file")
            files += inside
        elif not path.exists():
            raise refused(path, "file", "must be readable: No such file or directory")
        else:
            files.append(path)
    return files


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read its unpacked bytes: gzip, zip (of one file), xz and zstd are told by the content.

    Raises:
        InvalidFile: not readable, a broken archive, or a zip of several files; also while it is read.
    """
    packing = ""
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(path.open("rb"))
            head = raw.read(6)
            raw.seek(0)
            if head.startswith(_GZIP):
                packing = "gzip"
                yield cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=raw)))
            elif head.startswith(_ZIP):
                packing = "zip"
                archive = stack.enter_context(zipfile.ZipFile(raw))
                yield stack.enter_context(archive.open(_only_member(path, archive)))
            elif head.startswith(_XZ):
                packing = "xz"
                yield cast(IO[bytes], stack.enter_context(lzma.LZMAFile(raw)))
            elif head.startswith(_ZSTD):
                import pyarrow as pa

                packing = "zstd"
                stream = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
                yield cast(IO[bytes], stack.enter_context(io.BufferedReader(stream)))
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        raise refused(path, "file", f"must be whole {packing}: {error}") from error
    except RuntimeError as error:
        if packing != "zip":
            raise
        raise refused(path, "file", f"must be a zip without a password: {error}") from error
    except OSError as error:
        what = f"must be whole {packing}" if packing == "zstd" else "must be readable"
        raise refused(path, "file", f"{what}: {error.strerror or error}") from error


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not member.filename.startswith("__MACOSX/") and "/." not in f"/{member.filename}"
    ]
    if len(members) != 1:
        names = ", ".join(member.filename for member in members[:5])
        raise refused(
            path, "file", f"must be a zip of one file, has {len(members)} ({names}): unpack it and give the folder"
        )
    return members[0]


@dataclass(frozen=True)
class TextFile:
    """What was found out about a file's text.

    Attributes:
        path: the file.
        sha256: of the unpacked bytes, hex.
        encoding: Python's name of it.
        guessed: whether the file does not say and no option said.
    """

    path: Path
    sha256: str
    encoding: str
    guessed: bool = False

    @contextmanager
    def open(self, newline: str) -> Iterator[io.TextIOWrapper]:
        """Open the text; `newline` as :class:`io.TextIOWrapper` has it."""
        with (
            open_bytes(self.path) as binary,
            io.TextIOWrapper(binary, encoding=self.encoding, newline=newline) as text,
        ):
            yield text


def inspect_text(path: Path, encoding: str = "") -> TextFile:
    """Read a text file once: its fingerprint and its encoding.

    A file that is not UTF-8 and has no other non-ASCII text that is, is taken for Windows-1252.

    Args:
        path: the file.
        encoding: what it is said to be; told by the content if "".

    Raises:
        InvalidFile: not of the encoding, with the offset and the line; broken UTF-8; or a NUL byte.
    """
    with open_bytes(path) as file:
        head = file.read(4)
    wide = head.startswith(_UTF16)
    if encoding:
        name = _known(path, encoding)
        if name in ("utf-16", "utf-8") and (wide or name == "utf-8"):
            name = "utf-16" if wide else "utf-8"
        sha256 = _decode(path, name, zeros=name.startswith(("utf-16", "utf-32")))
        return TextFile(path, sha256, "utf-8-sig" if name == "utf-8" else name)
    if wide:
        return TextFile(path, _decode(path, "utf-16", zeros=True), "utf-16")
    try:
        return TextFile(path, _decode(path, "utf-8"), "utf-8-sig")
    except _NotDecoded as error:
        if error.multibyte:
            raise
        broken = error
    try:
        return TextFile(path, _decode(path, FALLBACK_ENCODING), FALLBACK_ENCODING, guessed=True)
    except _NotDecoded:
        raise broken from None


def _known(path: Path, encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise refused(
            path, "--encoding", f"is not known: {encoding}; e.g. utf-8, windows-1252, iso-8859-15, utf-16, gb18030"
        ) from error


class _NotDecoded(InvalidFile):
    """A byte that the encoding does not have; `multibyte` tells whether text before it is real UTF-8."""

    multibyte = False


def _decode(path: Path, encoding: str, *, zeros: bool = False) -> str:
    """Decode all of a file; its hex sha256."""
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, lines, multibyte = 0, 1, False
    with open_bytes(path) as file:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            pending = decoder.getstate()[0]
            try:
                multibyte |= not decoder.decode(chunk, final=not chunk).isascii()
            except UnicodeDecodeError as error:
                line = lines + chunk[: max(0, error.start - len(pending))].count(b"\n")
                byte, position = error.object[error.start], offset - len(pending) + error.start
                called = encoding.upper() if encoding.startswith("utf") else encoding
                message = f"must be {called}, got byte 0x{byte:02x} at offset {position}, line {line}"
                not_decoded = _NotDecoded(path, [FieldViolation("encoding", f"{message} (--encoding says another)")])
                before = error.object[: error.start].decode(encoding, "ignore")
                not_decoded.multibyte = multibyte or not before.isascii() or error.reason == "unexpected end of data"
                raise not_decoded from error
            if not zeros and b"\0" in chunk:
                raise refused(path, "file", f"must be text, got a NUL byte at offset {offset + chunk.index(0)}")
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)
            offset += len(chunk)
            lines += chunk.count(b"\n")


def digest_of(path: Path) -> str:
    """Hex sha256 of a file's unpacked bytes."""
    digest = hashlib.sha256()
    with open_bytes(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(digests: Sequence[str]) -> str:
    """One fingerprint of several files, whatever their order; of one file it is the file's own."""
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(sorted(digests)).encode()).hexdigest()
