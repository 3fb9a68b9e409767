"""Synthetic reviews in the shape of the real set, for trying the system out where no real file is at hand.

What it copies of the real set: the 25 columns, a top product with 28 % of the rows and a long tail, nine of ten users
with one review, names that many people share, missing values, dates of several forms, ratings that are mostly fives,
texts that carry their rating and their product, and products that come and go with time. Users with several reviews
have a taste, so that collaborative filtering has something to find. What it cannot copy is language: texts are put
together from phrases.

Every row says once that it is synthetic, in its `keys`; names are as short as those of real products.
"""

import csv
import gzip
import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from trainer.data.raw import COLUMNS
from trainer.synthetic.phrases import (
    ADJECTIVES,
    CATEGORIES,
    CLOSINGS,
    NAMES,
    NOUNS,
    OPENINGS,
    REMARKS,
    STYLES,
    TITLES,
    Category,
)
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import ANONYMOUS_NAMES

MARKER: Final = "synthetic"
TOP_SHARE: Final = 0.28
"""Share of the rows that the most popular product has."""
ONE_REVIEW_SHARE: Final = 0.9
"""Share of the users with a single review."""
ANONYMOUS_SHARE: Final = 0.03
"""Share of the rows under an anonymous name."""
FIRST_DAY: Final = datetime(2014, 1, 1, tzinfo=UTC)
DAYS: Final = 1500


@dataclass(frozen=True)
class _Product:
    product_id: str
    name: str
    brand: str
    categories: str
    manufacturer: str
    category: Category
    quality: float
    """Added to the mean rating, in stars."""
    launch_day: float


def write_synthetic(path: Path, reviews: int, seed: int) -> None:
    """Write synthetic reviews; gzipped if the name ends in ``.gz``. The same arguments give the same bytes.

    Args:
        path: file to write; it appears whole or not at all.
        reviews: rows, at least 100.
        seed: source of everything random.

    Raises:
        InvalidArgument: too few rows, or a name that ends neither in ``.csv`` nor in ``.csv.gz``.
    """
    if reviews < 100:
        raise InvalidArgument([FieldViolation("--reviews", f"must be at least 100, got {reviews}")])
    if not path.name.endswith((".csv", ".csv.gz")):
        raise InvalidArgument([FieldViolation("FILE", f"must end in .csv or .csv.gz, got {path.name!r}")])
    with _written_aside(path) as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rows(reviews, np.random.default_rng(seed)))


@contextmanager
def _written_aside(path: Path) -> Iterator[io.TextIOBase]:
    """Open a text file that takes the name `path` only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as raw, ExitStack() as stack:
            # No name and no time in the gzip header, so that equal content gives equal bytes.
            binary = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0)) if path.suffix == ".gz" else raw
            yield stack.enter_context(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _rows(reviews: int, rng: np.random.Generator) -> Iterator[dict[str, str]]:
    products, shares = _catalogue(max(12, round(reviews**0.55)), rng)
    users = _users(reviews, rng)
    chosen = _choices(users, products, shares, rng)
    names = _names(users, rng)
    launch = np.array([product.launch_day for product in products])
    # A product sells most when it is new: days since its launch are exponential.
    days = np.minimum(launch[chosen] + rng.exponential(180.0, reviews), DAYS)
    stars = _stars(users, chosen, products, rng)
    for row in range(reviews):
        product = products[chosen[row]]
        rating = int(stars[row])
        yield {
            "id": product.product_id,
            "brand": product.brand,
            "categories": product.categories,
            "keys": MARKER,
            "manufacturer": product.manufacturer,
            "name": product.name,
            "reviews.date": _date(float(days[row]), rng),
            "reviews.didPurchase": "" if rng.random() < 0.5 else "TRUE",
            "reviews.doRecommend": "TRUE" if rating >= 4 else "FALSE",
            "reviews.rating": str(rating),
            "reviews.sourceURLs": f"https://reviews.invalid/{product.product_id}",
            "reviews.text": "" if rng.random() < 0.001 else _text(product, rating, rng),
            "reviews.title": "" if rng.random() < 0.006 else str(rng.choice(TITLES[rating])),
            "reviews.username": "" if rng.random() < 0.002 else names[row],
        }


def _catalogue(count: int, rng: np.random.Generator) -> tuple[list[_Product], np.ndarray]:
    """Make up products, and their shares of the rows, most popular first."""
    tail = 1.0 / np.arange(4, count + 3) ** 1.9
    shares = np.concatenate([[TOP_SHARE], (1 - TOP_SHARE) * tail / tail.sum()])
    launches = rng.uniform(0, DAYS - 250, count)
    products = []
    namesakes: Counter[str] = Counter()
    for index in range(count):
        category = CATEGORIES[index % len(CATEGORIES)]
        style = STYLES[(index // len(CATEGORIES)) % len(STYLES)]
        brand = str(rng.choice(category.brands))
        noun = rng.choice(category.nouns)
        name = f"{brand} {style} {noun}"
        namesakes[name] += 1
        products.append(
            _Product(
                product_id=f"SYN{index:05d}",
                name=name if namesakes[name] == 1 else f"{name} {namesakes[name]}",
                brand=brand,
                categories=f"{category.name},{style},{noun}",
                # One product in forty has no manufacturer, as in the real set.
                manufacturer="" if index % 40 == 17 else f"{brand} Works",
                category=category,
                quality=float(rng.normal(0.0, 0.5)),
                launch_day=float(launches[index]),
            )
        )
    return products, shares


def _users(reviews: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the user of each row: (reviews,) int64, users contiguous."""
    counts = np.where(rng.random(reviews) < ONE_REVIEW_SHARE, 1, 1 + np.minimum(rng.zipf(2.2, reviews), 15))
    return np.repeat(np.arange(reviews), counts)[:reviews]


def _choices(users: np.ndarray, products: list[_Product], shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the product of each row: (reviews,) int64.

    A user's taste is a (category, style) pair drawn by the pair's share of the rows, and four of five of the user's
    reviews are of it. So each product keeps its share, while two reviews of one user are alike far more often than two
    of strangers.
    """
    taste = np.arange(len(products)) % (len(CATEGORIES) * len(STYLES))
    kinds = int(taste.max()) + 1
    mass = np.bincount(taste, weights=shares, minlength=kinds)
    user_taste = rng.choice(kinds, size=int(users[-1]) + 1, p=mass / mass.sum())[users]
    chosen = rng.choice(len(products), size=len(users), p=shares / shares.sum())
    for kind in range(kinds):
        rows = np.flatnonzero((user_taste == kind) & (rng.random(len(users)) < 0.8))
        members = np.flatnonzero(taste == kind)
        chosen[rows] = rng.choice(members, size=len(rows), p=shares[members] / shares[members].sum())
    return chosen


def _names(users: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Name the author of each row: mostly one name per user, some that many users share, some anonymous."""
    count = int(users[-1]) + 1
    numbers = rng.permutation(count)
    own = [f"{rng.choice(ADJECTIVES)}_{rng.choice(NOUNS)}_{number}" for number in numbers]
    common = rng.random(count) < 0.01
    names = [str(rng.choice(NAMES)) if is_common else name for name, is_common in zip(own, common, strict=True)]
    anonymous = rng.random(len(users)) < ANONYMOUS_SHARE
    spelled = [*ANONYMOUS_NAMES, *(name.lower() for name in ANONYMOUS_NAMES)]
    return [
        str(rng.choice(spelled)) if is_anonymous else names[user]
        for user, is_anonymous in zip(users, anonymous, strict=True)
    ]


def _stars(users: np.ndarray, chosen: np.ndarray, products: list[_Product], rng: np.random.Generator) -> np.ndarray:
    """Draw ratings, (reviews,) int64 from 1 to 5: quality of the product, mildness of the user, luck.

    Two of three are fives.
    """
    quality = np.array([product.quality for product in products])[chosen]
    mildness = rng.normal(0.0, 0.4, int(users[-1]) + 1)[users]
    liking = quality + mildness + rng.normal(0.0, 0.8, len(users))
    edges = np.quantile(liking, [0.046, 0.06, 0.105, 0.305])
    stars: np.ndarray = 1 + np.searchsorted(edges, liking)
    return stars


def _date(day: float, rng: np.random.Generator) -> str:
    """Write a date in one of the forms of the real set; two in a thousand are missing."""
    moment = FIRST_DAY + timedelta(days=int(day), seconds=int(day % 1 * 86_400))
    form = rng.random()
    if form < 0.002:
        return ""
    if form < 0.02:
        return f"{moment:%Y-%m-%dT%H:%M:%S}"
    if form < 0.05:
        return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    if form < 0.15:
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{int(rng.integers(1000)):03d}Z"
    return f"{moment:%Y-%m-%d}T00:00:00.000Z"


def _text(product: _Product, rating: int, rng: np.random.Generator) -> str:
    """Put together a few sentences that name the product and sound like the rating."""
    noun = product.categories.rsplit(",", 1)[1]
    parts = [
        str(rng.choice(OPENINGS[rating])).format(noun=noun, brand=product.brand),
        str(rng.choice(product.category.remarks)),
        *(str(text) for text in rng.choice(REMARKS[rating], size=int(rng.integers(0, 2)), replace=False)),
        str(rng.choice(CLOSINGS[rating])).format(number=int(rng.integers(2, 12))),
    ]
    return " ".join(parts)
