"""Text vectors, encoded once: a content-addressed cache in front of the encoder.

The cache is one SQLite file: sha256 of encoder id and text → 384 × int16. Finished vectors are committed a few hundred
at a time, so a run that is killed loses seconds and the next one goes on from there; several runs may share the file.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from twotower.encoder import Encoded
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import BERT_DIM, Int16, Int32, Int64
from twotower.wire import fixed_point_to_bytes

CACHE_FILE: Final = "vectors-v1.sqlite"
_BATCH: Final = 256
_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, fixed_point BLOB NOT NULL) WITHOUT ROWID"


class Encoder(Protocol):
    """What turns texts into vectors: :class:`twotower.encoder.TextEncoder`."""

    encoder_id: str

    def encode(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Encoded:
        """Embed texts, one row per text."""


@dataclass(frozen=True)
class ReviewVectors:
    """Embeddings of reviews, each distinct text once.

    Attributes:
        distinct: (texts, 384) int16.
        text: (reviews,) row of `distinct` that each review has.
    """

    distinct: Int16
    text: Int32 | Int64

    def of(self, rows: Int64) -> Int16:
        """Vectors of some reviews, (rows, 384) int16."""
        return self.distinct[self.text[rows]]


class VectorCache:
    """Stores vectors by encoder and text.

    Args:
        folder: where the file is kept; made if missing.

    Raises:
        InvalidArgument: by any method, naming the folder that can't be written, is full or holds something else.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(folder, error) from error
        self._path = folder / CACHE_FILE
        with self._open() as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # readers beside a writer; a kill leaves the last commit
            connection.execute(_SCHEMA)

    def get(self, keys: Sequence[bytes], into: Int16) -> Int64:
        """Fill the rows of `into`, (keys, 384) int16, that the cache has; returns the indices of those it has not."""
        missing = np.ones(len(keys), bool)
        row_of = {key: row for row, key in enumerate(keys)}
        with self._open() as connection:
            for start in range(0, len(keys), _BATCH):
                wanted = keys[start : start + _BATCH]
                marks = ",".join("?" * len(wanted))
                query = f"SELECT key, fixed_point FROM vectors WHERE key IN ({marks})"  # noqa: S608 - question marks only
                for key, data in connection.execute(query, wanted):
                    if len(data) == into.itemsize * BERT_DIM:  # one that a fault of the disk cut short is made anew
                        into[row_of[key]] = np.frombuffer(data, "<i2")
                        missing[row_of[key]] = False
        return np.flatnonzero(missing)

    def put(self, keys: Sequence[bytes], vectors: Int16) -> None:
        """Store vectors, (keys, 384) int16; all or none."""
        rows = [(key, fixed_point_to_bytes(vector)) for key, vector in zip(keys, vectors, strict=True)]
        with self._open() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=60.0)) as connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise _unusable(self._path, error) from error


def _unusable(path: Path, error: Exception) -> InvalidArgument:
    return InvalidArgument([FieldViolation("--cache", f"must be a folder for encoded texts, {path}: {error}")])


def text_key(encoder_id: str, text: str) -> bytes:
    """The cache's key of a text: sha256 of encoder id and text."""
    return hashlib.sha256(f"{encoder_id}\0{text}".encode()).digest()


def encode_unique(
    texts: Sequence[str], encoder: Encoder, cache: VectorCache, on_progress: Callable[[int], None]
) -> Int16:
    """Vectors of distinct texts, from the cache or else from the encoder.

    Args:
        texts: each once.
        encoder: embeds what the cache does not have.
        cache: read first, and filled with the rest.
        on_progress: called with the number of texts done since the last call.

    Returns:
        (texts, 384) int16, in order.
    """
    keys = [text_key(encoder.encoder_id, text) for text in texts]
    vectors = np.empty((len(texts), BERT_DIM), np.int16)
    missing = cache.get(keys, vectors)
    on_progress(len(texts) - len(missing))
    # Longest first, so that the texts of a batch are alike and no core waits for another at its end.
    ordered = sorted(missing.tolist(), key=lambda row: -len(texts[row]))
    for start in range(0, len(ordered), _BATCH):
        rows = ordered[start : start + _BATCH]
        vectors[rows] = encoder.encode([texts[row] for row in rows], on_progress).fixed_point
        cache.put([keys[row] for row in rows], vectors[rows])
    return vectors
