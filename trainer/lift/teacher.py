"""What `best` is taught: how much more a user with a history will want each product than everybody does.

Three signals say so, each a row of numbers over the catalogue, standardised to mean 0 and deviation 1:

1. *words*: the user's mean review, less the mean of all reviews, times the product's text, less the mean of all
products' texts;
2. *talk*: mean cosine between what is said of the products that the user reviewed and what is said of this one, where
what is said of a
   product is the sum of its reviews' embeddings, each less the mean of all;
3. *company*: Σ over the products that the user reviewed of the cosine between their reviewers and this product's.

The lift is their weighted sum. The weights are those of a conditional logit: the log-likelihood of what users with a
history reviewed next, on rolling folds inside the training period, with live log popularity as a fixed offset, so that
a weight is worth what the signal knows *beyond* what everybody buys at that time. It is convex, has three numbers, and
needs no ALS.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.reviews import Reviews
from trainer.encoding.cache import ReviewVectors
from trainer.features.history import FIRST_WARM, AsOfFeatures, first_of_moment, global_mean, seen_mask
from trainer.features.popularity import live_matrix
from trainer.lift.calibration import standardised
from trainer.measure.folds import rolling_folds
from twotower.features import BERT_COLUMNS, BERT_DIM, FIXED_POINT_SCALE, Float32, Float64, Int64

SIGNALS: Final = ("words", "talk", "company")
_INNER_FOLDS: Final = 4
_RIDGE: Final = 1.0
"""Penalty on the squared weights, in units of log-likelihood: one row's worth, so that few rows say little."""
_MAX_CELLS: Final = 4_000_000
"""Rows of one inner fold × products: of more, the newest rows are fitted on."""
_BATCH: Final = 16_384


@dataclass(frozen=True)
class Signals:
    """The three signals, counted on a training period.

    Attributes:
        mean: (384,) mean embedding of the reviews.
        products: (products, 384) product texts less their mean.
        said: (products, 384) what is said of each product, of unit length; zeros for one without a review.
        company: (products, products) sparse, cosine of reviewers; nothing on the diagonal.
    """

    mean: Float32
    products: Float32
    said: Float32
    company: Any

    def of(self, users: Float32, seen: NDArray[np.bool_]) -> Float32:
        """Signals of users with a history.

        Args:
            users: (users, 449) user rows.
            seen: (users, products) what each has reviewed.

        Returns:
            (users, products, 3) float32, as in :data:`SIGNALS`.
        """
        from scipy.sparse import csr_matrix

        history = csr_matrix(seen, dtype=np.float32)
        count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
        words = (users[:, BERT_COLUMNS] - self.mean) @ self.products.T
        talk = (history @ self.said / count.astype(np.float32)) @ self.said.T
        company = (history @ self.company).toarray()
        return np.stack([standardised(signal) for signal in (words, talk, company)], axis=-1)


@dataclass(frozen=True)
class Teacher:
    """Signals and their weights.

    Attributes:
        signals: of the training period.
        weights: (3,) in units of log probability.
    """

    signals: Signals
    weights: Float64

    def lift(self, users: Float32, seen: NDArray[np.bool_]) -> Float32:
        """Log of how much more likely each product is for these users than for everybody, up to a constant a user:
        (users, products).
        """
        lift: Float32 = (self.signals.of(users, seen) @ self.weights.astype(np.float32)).astype(np.float32)
        return lift


@dataclass(frozen=True)
class _Source:
    """What signals are counted from.

    Attributes:
        reviews: in time order.
        vectors: of the reviews.
        product_vectors: (products, 384) text embeddings of unit length.
    """

    reviews: Reviews
    vectors: ReviewVectors
    product_vectors: Float32


def fit_teacher(
    reviews: Reviews,
    rows: int,
    *,
    vectors: ReviewVectors,
    features: AsOfFeatures,
    product_vectors: Float32,
    half_life_days: float,
) -> Teacher:
    """Fit the weights on rolling folds inside the first `rows` reviews, and count the signals on all of these.

    Args:
        reviews: in time order.
        rows: of the training period.
        vectors: of the reviews.
        features: as of every review; nothing but the mean embedding is used of them.
        product_vectors: (products, 384) text embeddings of unit length.
        half_life_days: of live popularity.
    """
    source, parts = _Source(reviews, vectors, product_vectors), []
    for fold in rolling_folds(int(reviews.dated[:rows].sum()), _INNER_FOLDS):
        before = first_of_moment(reviews, fold.test)
        warm = np.flatnonzero(features.state[before] >= FIRST_WARM)[-max(1, _MAX_CELLS // len(reviews.products)) :]
        if len(warm):
            users = features.states[features.state[before[warm]]]
            parts.append(_examples(source, fold.training, fold.test[warm], users, half_life_days))
    weights = np.zeros(len(SIGNALS))
    if parts:
        signals, offset, target = (np.concatenate(column) for column in zip(*parts, strict=True))
        weights = conditional_logit(signals, offset, target)
    return Teacher(_count(source, rows), weights)


def _examples(
    source: _Source, training: int, test: Int64, users: Float32, half_life_days: float
) -> tuple[Float32, Float32, Int64]:
    """Signals (rows, products, 3), offset (rows, products) and target (rows,) of rows of an inner fold, given their
    users.
    """
    reviews = source.reviews
    target, seen = reviews.product[test].astype(np.int64), seen_mask(reviews, first_of_moment(reviews, test))
    signals = _count(source, training).of(users, seen)
    # A product that was reviewed before is ranked all the same where it is the answer.
    seen[np.arange(len(test)), target] = False
    return signals, np.where(seen, -np.inf, live_matrix(reviews, test, half_life_days)).astype(np.float32), target


def _count(source: _Source, rows: int) -> Signals:
    """Signals of the first `rows` reviews; anonymous names keep no company, since they are many people."""
    from scipy.sparse import coo_matrix, diags

    reviews, vectors, texts = source.reviews, source.vectors, source.product_vectors
    mean, shape = global_mean(vectors, rows), (len(reviews.products), BERT_DIM)
    said = np.zeros(shape, np.float64)
    for start in range(0, rows, _BATCH):
        part = np.arange(start, min(start + _BATCH, rows))
        of_product = coo_matrix(
            (np.ones(len(part), np.float32), (reviews.product[part], part - start)), (shape[0], len(part))
        ).tocsr()
        said += of_product @ (vectors.of(part).astype(np.float32) / FIXED_POINT_SCALE - mean)
    said /= np.maximum(np.linalg.norm(said, axis=1, keepdims=True), 1e-9)
    user, product = reviews.user[:rows], reviews.product[:rows]
    named = ~reviews.anonymous[user]
    pairs = np.unique(user[named].astype(np.int64) * shape[0] + product[named])
    reviewed = coo_matrix(
        (np.ones(len(pairs), np.float32), (pairs // shape[0], pairs % shape[0])), (int(user.max()) + 1, shape[0])
    ).tocsr()
    together = (reviewed.T @ reviewed).tocsr()
    length = diags(1.0 / np.sqrt(np.maximum(together.diagonal(), 1.0)))
    company = (length @ together @ length).tolil()
    company.setdiag(0)
    company = company.tocsr()
    company.eliminate_zeros()
    return Signals(mean, texts - texts.mean(axis=0), said.astype(np.float32), company.astype(np.float32))


def conditional_logit(signals: Float32, offset: Float32, target: Int64) -> Float64:
    """Weights w that maximise Σ log softmax(signals · w + offset)[target] − ridge · |w|² / 2.

    Args:
        signals: (rows, products, k).
        offset: (rows, products); −inf for a product that is no candidate.
        target: (rows,) product.

    Returns:
        (k,) float64.
    """
    from scipy.optimize import minimize

    own = signals[np.arange(len(target)), target].astype(np.float64)

    def loss(weights: Float64) -> tuple[float, Float64]:
        logits = signals @ weights + offset
        top = logits.max(axis=1, keepdims=True)
        shares = np.exp(logits - top)
        total = shares.sum(axis=1, keepdims=True)
        value = float(
            (top[:, 0] + np.log(total[:, 0]) - np.take_along_axis(logits, target[:, np.newaxis], 1)[:, 0]).sum()
        )
        expected = np.einsum("rp,rpk->k", shares / total, signals)
        return value + 0.5 * _RIDGE * float(weights @ weights), expected - own.sum(axis=0) + _RIDGE * weights

    found: Float64 = minimize(loss, np.zeros(signals.shape[2]), jac=True, method="L-BFGS-B").x
    return found
