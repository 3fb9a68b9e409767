"""Review files and embeddings made up for tests of the trainer."""

import csv
import hashlib
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from trainer.data.cleaning import CleaningOptions
from trainer.data.raw import COLUMNS, SourceOptions
from trainer.data.reviews import Reviews, read_reviews
from trainer.encoding.cache import ReviewVectors
from twotower.features import Int16, quantize, review_text

ROW = {
    "id": "P1",
    "brand": "Brand",
    "categories": "Home,Kitchen",
    "manufacturer": "Maker",
    "name": "Kettle",
    "reviews.date": "2017-03-01T00:00:00.000Z",
    "reviews.rating": "5",
    "reviews.text": "Boils fast",
    "reviews.title": "Good",
    "reviews.username": "ann",
}
"""A review without a fault."""


def random_row(number: int, year: int) -> dict[str, str]:
    """A review of one of six products by one of a few users, the same for the same number."""
    draw = random.Random(number)
    return {
        "reviews.username": draw.choice(["ann", "bob", "cid", "dan", "anonymous", f"once {number}"]),
        "id": f"P{draw.choice([0, 0, 0, 1, 1, 2, 3, 4, 5])}",
        "manufacturer": draw.choice(["A", "B", ""]),
        "name": draw.choice(["Kettle", "Lamp"]),
        "reviews.rating": str(draw.randint(0, 5)),
        "reviews.text": draw.choice(["good", "bad", f"text {number}"]),
        "reviews.date": f"{year}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}T00:00:00Z",
    }


def write_csv(path: Path, rows: Iterable[Mapping[str, str]], columns: Iterable[str] = COLUMNS) -> Path:
    """Write rows in the 25-column schema; what a row does not say is taken from :data:`ROW`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return path


def read(path: Path, rows: Iterable[Mapping[str, str]], **options: object) -> Reviews:
    """Write rows to `path` and read them back cleaned."""
    return read_reviews(write_csv(path, rows), CleaningOptions(**options))[0]  # type: ignore[arg-type]


def read_file(path: Path, **source: object) -> Reviews:
    """Read a file of any format, however many of its rows are unusable."""
    return read_reviews(path, CleaningOptions(max_dropped=0.9), SourceOptions(**source))[0]  # type: ignore[arg-type]


def text_vector(text: str) -> Int16:
    """A made-up embedding of a text: the same text, the same vector."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=384)
    return quantize((vector / np.linalg.norm(vector)).astype(np.float32))


def review_vectors(reviews: Reviews) -> ReviewVectors:
    """Made-up embeddings of all reviews."""
    texts = [review_text(title, text) for title, text in zip(reviews.titles, reviews.texts, strict=True)]
    distinct = list(dict.fromkeys(texts))
    row_of = {text: row for row, text in enumerate(distinct)}
    return ReviewVectors(
        np.array([text_vector(text) for text in distinct]), np.array([row_of[text] for text in texts], np.int64)
    )
