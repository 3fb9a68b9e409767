"""The description of a review file: what a person asks of it first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from trainer.data.reviews import Reviews
from trainer.features.negatives import draw_labels, draw_negatives, popularity_weights
from trainer.features.samples import NEGATIVES_PER_POSITIVE
from trainer.report import figures
from trainer.report.render import render
from twotower.features import Float32, Int64
from twotower.terminal import fields_table

_TOPS = (1, 10, 100)


def description(reviews: Reviews, alpha: float) -> dict[str, Any]:
    """Describe cleaned reviews in numbers.

    Args:
        reviews: cleaned.
        alpha: exponent of popularity in the draw of negatives whose labels are described.
    """
    per_user = np.bincount(reviews.user)
    per_product = np.sort(np.bincount(reviews.product))[::-1]
    period = reviews.period()
    first, last = (moment.date().isoformat() for moment in period) if period else (None, None)
    pairs = len(np.unique(reviews.user.astype(np.int64) * len(reviews.products) + reviews.product))
    return {
        "reviews": len(reviews),
        "users": {
            "count": len(reviews.user_ids),
            "anonymous_names": int(reviews.anonymous.sum()),
            "reviews_by_anonymous": int(reviews.anonymous[reviews.user].sum()),
        },
        "products": len(reviews.products),
        "reviews_per_user": {**_spread(per_user), "share_with_one": float((per_user == 1).mean())},
        "reviews_per_product": _spread(per_product),
        "share_of_reviews": {
            f"top_{top}": float(per_product[:top].sum() / len(reviews)) for top in _TOPS if top <= len(per_product)
        },
        "repeated_pairs": len(reviews) - pairs,
        "rating": _mean(reviews.rating),
        "negatives": _negatives(reviews, alpha) if len(reviews.products) > 1 else None,
        "dates": {"first": first, "last": last, "missing": int((~reviews.dated).sum())},
    }


def _spread(counts: Int64) -> dict[str, float]:
    return {"mean": float(counts.mean()), "median": float(np.median(counts)), "most": int(counts.max())}


def _mean(ratings: Float32) -> dict[str, float]:
    return {"mean": float(ratings.mean()), "deviation": float(ratings.std())}


def _negatives(reviews: Reviews, alpha: float) -> dict[str, Any]:
    """The samples that a preset with negatives would be trained on."""
    labels = draw_labels((len(reviews), NEGATIVES_PER_POSITIVE), np.random.default_rng(0))
    drawn = draw_negatives(
        reviews.user,
        (reviews.user, reviews.product),
        popularity_weights(reviews.product, alpha),
        k=NEGATIVES_PER_POSITIVE,
        rng=np.random.default_rng(0),
    )
    return {
        "per_review": NEGATIVES_PER_POSITIVE,
        "alpha": alpha,
        "distinct_products": len(np.unique(drawn)),
        "rating": _mean(np.concatenate([reviews.rating, labels.reshape(-1)])),
    }


def print_description(console: Console, found: Mapping[str, Any]) -> None:
    """Print what :func:`description` found, line by line."""
    console.print(fields_table(_answers(found)))


def _answers(found: Mapping[str, Any]) -> dict[str, str]:
    users, dates, negatives = found["users"], found["dates"], found["negatives"]
    per_user, per_product = found["reviews_per_user"], found["reviews_per_product"]
    answers = {
        "reviews": f"{found['reviews']:,}",
        "users": f"{users['count']:,} ({users['anonymous_names']} anonymous names, "
        f"{users['reviews_by_anonymous']:,} reviews by them)",
        "products": f"{found['products']:,}",
        "reviews a user": f"mean {per_user['mean']:.2f}, median {per_user['median']:.0f}, most {per_user['most']:,}; "
        f"{per_user['share_with_one']:.1%} have one",
        "reviews a product": (
            f"mean {per_product['mean']:.1f}, median {per_product['median']:.0f}, most {per_product['most']:,}"
        ),
        "share of all reviews": ", ".join(
            f"{name.replace('_', ' ')}: {share:.0%}" for name, share in found["share_of_reviews"].items()
        ),
        "repeats of a (user, product) pair": f"{found['repeated_pairs']:,}",
        "rating": _rating(found["rating"]),
    }
    if negatives:
        answers[f"rating with {negatives['per_review']} negatives a review"] = _rating(negatives["rating"])
        name = f"distinct products among negatives, alpha {negatives['alpha']:g}"
        answers[name] = f"{negatives['distinct_products']:,}"
    return {**answers, "dates": f"{dates['first'] or '–'} to {dates['last'] or '–'}, {dates['missing']:,} missing"}


def _rating(rating: Mapping[str, float]) -> str:
    return f"mean {rating['mean']:.3f}, deviation {rating['deviation']:.3f}"


def write_pictures(path: Path, reviews: Reviews) -> None:
    """Write popularity curve and rating histogram as one self-contained page."""
    page = render(
        "description.html",
        title=f"{len(reviews):,} reviews of {len(reviews.products):,} products",
        popularity=figures.popularity(np.bincount(reviews.product)),
        ratings=figures.ratings(reviews.rating, None, None),
    )
    path.write_text(page, encoding="utf-8")
