"""The catalogue: every product of the file, with its figures in the training period."""

from collections import Counter

import numpy as np

from trainer.data.reviews import Reviews
from twotower.release import Product


def build_catalogue(reviews: Reviews, rows: int) -> list[Product]:
    """Describe every product, in the order of `Reviews.products`, with its figures in the first `rows` reviews.

    A missing manufacturer is filled with the one that most of these reviews have (of several, the first in alphabetical
    order); with nothing if none of them has one.
    """
    product, texts = reviews.product[:rows], reviews.products_of(rows)
    counts = np.bincount(product, minlength=len(reviews.products))
    stars = np.bincount(product, weights=reviews.rating[:rows].astype(np.float64), minlength=len(reviews.products))
    manufacturers = Counter[str]()
    for text, count in zip(texts, counts.tolist(), strict=True):
        if count and text.manufacturer.strip():
            manufacturers[text.manufacturer] += count
    most_frequent = min(manufacturers, key=lambda name: (-manufacturers[name], name), default="")
    return [
        Product(
            product_id=text.product_id,
            name=text.name,
            brand=text.brand,
            categories=text.categories,
            manufacturer=text.manufacturer if text.manufacturer.strip() else most_frequent,
            review_count=count,
            mean_rating=total / count if count else 0.0,
        )
        for text, count, total in zip(texts, counts.tolist(), stars.tolist(), strict=True)
    ]
