"""The description of a review file: what a person asks of it first."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from trainer.data.reviews import Reviews
from trainer.features.negatives import draw_labels, draw_negatives, popularity_weights
from trainer.features.samples import NEGATIVES_PER_POSITIVE
from trainer.report import figures
from trainer.report.render import render

_TOPS = (1, 10, 100)


def description(reviews: Reviews, alpha: float) -> dict[str, str]:
    """Answer the questions, by their names.

    Args:
        reviews: cleaned.
        alpha: exponent of popularity in the draw of negatives whose labels are described.
    """
    per_user = np.bincount(reviews.user)
    per_product = np.sort(np.bincount(reviews.product))[::-1]
    labels = draw_labels((len(reviews), NEGATIVES_PER_POSITIVE), np.random.default_rng(0))
    after = np.concatenate([reviews.rating, labels.reshape(-1)])
    negatives = draw_negatives(
        reviews.user,
        (reviews.user, reviews.product),
        popularity_weights(reviews.product, alpha),
        k=NEGATIVES_PER_POSITIVE,
        rng=np.random.default_rng(0),
    )
    period = reviews.period()
    first, last = (moment.date().isoformat() for moment in period) if period else ("–", "–")
    pairs = len(np.unique(reviews.user.astype(np.int64) * len(reviews.products) + reviews.product))
    shares = ", ".join(
        f"top {top}: {per_product[:top].sum() / len(reviews):.0%}" for top in _TOPS if top <= len(per_product)
    )
    return {
        "reviews": f"{len(reviews):,}",
        "users": f"{len(reviews.user_ids):,} ({int(reviews.anonymous.sum())} anonymous names, "
        f"{int(reviews.anonymous[reviews.user].sum()):,} reviews by them)",
        "products": f"{len(reviews.products):,}",
        "reviews a user": f"mean {per_user.mean():.2f}, median {np.median(per_user):.0f}, most {per_user.max():,}; "
        f"{(per_user == 1).mean():.1%} have one",
        "reviews a product": (
            f"mean {per_product.mean():.1f}, median {np.median(per_product):.0f}, most {per_product[0]:,}"
        ),
        "share of all reviews": shares,
        "repeats of a (user, product) pair": f"{len(reviews) - pairs:,}",
        "rating": f"mean {reviews.rating.mean():.3f}, deviation {reviews.rating.std():.3f}",
        f"rating with {NEGATIVES_PER_POSITIVE} negatives a review": (
            f"mean {after.mean():.3f}, deviation {after.std():.3f}"
        ),
        f"distinct products among negatives, alpha {alpha:g}": f"{len(np.unique(negatives)):,}",
        "dates": f"{first} to {last}, {int((~reviews.dated).sum()):,} missing",
    }


def print_description(console: Console, answers: dict[str, str]) -> None:
    """Print questions and answers as a table."""
    table = Table(show_header=False)
    for question, answer in answers.items():
        table.add_row(question, answer)
    console.print(table)


def write_pictures(path: Path, reviews: Reviews) -> None:
    """Write popularity curve and rating histogram as one self-contained page."""
    page = render(
        "description.html",
        title=f"{len(reviews):,} reviews of {len(reviews.products):,} products",
        popularity=figures.popularity(np.bincount(reviews.product)),
        ratings=figures.ratings(reviews.rating, None, None),
    )
    path.write_text(page, encoding="utf-8")
