"""Formats, told apart by their content."""

from pathlib import Path
from typing import Final, Literal

from trainer.data.files import open_bytes, refused

Kind = Literal["csv", "json", "parquet"]
_HEAD_BYTES: Final = 4096
_FOREIGN: Final = {
    b"\x89PNG": "a PNG picture",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file; save it as CSV",
    b"\x80\x04": "a Python pickle, which would run code",
    b"\x89HDF": "an HDF5 file",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
}


def kind_of(path: Path) -> Kind:
    """What a file is.

    Raises:
        InvalidFile: not readable, or something that has no reviews.
    """
    with open_bytes(path) as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"PAR1"):
        return "parquet"
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise refused(path, "file", f"must be CSV, JSON or Parquet, looks like {name}")
    for encoding in ("utf-16-le", "utf-16-be"):
        if head.startswith("\ufeff".encode(encoding)):
            head = head.decode(encoding, "ignore").encode()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    # An array begins with an object; a CSV may begin with a name in brackets.
    return "json" if text.startswith(b"{") or (text[:1] == b"[" and text[1:].lstrip()[:1] in (b"{", b"]")) else "csv"
