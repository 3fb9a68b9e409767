"""What `best` is taught: how much more a user with a history will want each product than everybody does.

Three signals say so, each a row of numbers over the catalogue, standardised to mean 0 and deviation 1:

1. *content*: the user's mean review, less the mean of all reviews, times the product's text, less the mean of all
   products' texts;
2. *review text*: mean cosine between the reviews of the products that the user reviewed and the reviews of this
   product, both as the sum of the reviews' embeddings, each less the mean of all;
3. *co-reviewers*: sum, over the products that the user reviewed, of the cosine between their reviewers and this
   product's.

The lift is their weighted sum. The weights are those of a conditional logit: the log-likelihood of what users with a
history reviewed next, on rolling folds inside the training period, with live log popularity as a fixed offset, so that
a weight is worth what the signal knows *beyond* what everybody buys at that time. It is convex, has three numbers, and
needs no ALS.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.features.history import FIRST_WARM, first_of_moment, global_mean, seen_mask
from trainer.features.popularity import live_matrix
from trainer.lift.calibration import standardised
from trainer.lift.inputs import LiftInputs
from trainer.measure.folds import rolling_folds
from twotower.features import BERT_COLUMNS, BERT_DIM, FIXED_POINT_SCALE, Float32, Float64, Int64

SIGNALS: Final = ("content", "review_text", "co_reviewers")
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
        product_texts: (products, 384) embeddings of the product texts, less their mean.
        review_texts: (products, 384) what the reviews of each product say, of unit length; zeros without a review.
        co_reviewers: (products, products) sparse, cosine of reviewers; nothing on the diagonal.
    """

    mean: Float32
    product_texts: Float32
    review_texts: Float32
    co_reviewers: Any

    def of_users(self, users: Float32, seen: NDArray[np.bool_]) -> Float32:
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
        content = (users[:, BERT_COLUMNS] - self.mean) @ self.product_texts.T
        review_text = (history @ self.review_texts / count.astype(np.float32)) @ self.review_texts.T
        co_reviewers = (history @ self.co_reviewers).toarray()
        return np.stack([standardised(signal) for signal in (content, review_text, co_reviewers)], axis=-1)


@dataclass(frozen=True)
class Teacher:
    """Signals and their weights.

    Attributes:
        signals: counted on the training period.
        weights: (3,) in units of log probability.
    """

    signals: Signals
    weights: Float64

    def lift(self, users: Float32, seen: NDArray[np.bool_]) -> Float32:
        """Log of how much more likely each product is for these users than for everybody, (users, products).

        It is known up to a constant per user.
        """
        lift: Float32 = (self.signals.of_users(users, seen) @ self.weights.astype(np.float32)).astype(np.float32)
        return lift


def fit_teacher(inputs: LiftInputs, half_life_days: float) -> Teacher:
    """Fit the weights on rolling folds inside the training period, and count the signals on all of it.

    Args:
        inputs: the training period; of its user rows only the mean embedding is used.
        half_life_days: of live popularity.
    """
    reviews, features = inputs.reviews, inputs.features
    max_rows = max(1, _MAX_CELLS // len(reviews.products))
    parts = []
    for fold in rolling_folds(int(reviews.dated[: inputs.rows].sum()), _INNER_FOLDS):
        state = features.state[first_of_moment(reviews, fold.test)]
        warm = np.flatnonzero(state >= FIRST_WARM)[-max_rows:]
        if len(warm):
            users = features.states[state[warm]]
            parts.append(_examples(inputs, fold.training, fold.test[warm], users, half_life_days))
    weights = np.zeros(len(SIGNALS))
    if parts:
        signals, offset, target = (np.concatenate(column) for column in zip(*parts, strict=True))
        weights = conditional_logit(signals, offset, target)
    return Teacher(_count(inputs, inputs.rows), weights)


def _examples(
    inputs: LiftInputs, training: int, test: Int64, users: Float32, half_life_days: float
) -> tuple[Float32, Float32, Int64]:
    """Signals (rows, products, 3), offset (rows, products) and target (rows,) of test rows of an inner fold."""
    reviews = inputs.reviews
    target, seen = reviews.product[test].astype(np.int64), seen_mask(reviews, first_of_moment(reviews, test))
    signals = _count(inputs, training).of_users(users, seen)
    # A product that was reviewed before is ranked all the same where it is the answer.
    seen[np.arange(len(test)), target] = False
    return signals, np.where(seen, -np.inf, live_matrix(reviews, test, half_life_days)).astype(np.float32), target


def _count(inputs: LiftInputs, rows: int) -> Signals:
    """Count the signals on the first `rows` reviews."""
    mean, product_texts = global_mean(inputs.vectors, rows), inputs.product_vectors
    return Signals(
        mean, product_texts - product_texts.mean(axis=0), _review_texts(inputs, rows, mean), _co_reviewers(inputs, rows)
    )


def _review_texts(inputs: LiftInputs, rows: int, mean: Float32) -> Float32:
    """Σ of the reviews' embeddings less their mean, of unit length: (products, 384) float32."""
    from scipy.sparse import coo_matrix

    reviews, products = inputs.reviews, len(inputs.reviews.products)
    sums = np.zeros((products, BERT_DIM), np.float64)
    for start in range(0, rows, _BATCH):
        batch = np.arange(start, min(start + _BATCH, rows))
        ones = np.ones(len(batch), np.float32)
        of_product = coo_matrix((ones, (reviews.product[batch], batch - start)), (products, len(batch))).tocsr()
        sums += of_product @ (inputs.vectors.of(batch).astype(np.float32) / FIXED_POINT_SCALE - mean)
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return sums.astype(np.float32)


def _co_reviewers(inputs: LiftInputs, rows: int) -> Any:
    """Cosine of the products' reviewers, sparse; an anonymous name is many people and counts for nothing."""
    from scipy.sparse import coo_matrix, diags

    reviews, products = inputs.reviews, len(inputs.reviews.products)
    user, product = reviews.user[:rows], reviews.product[:rows]
    named = ~reviews.anonymous[user]
    pairs = np.unique(user[named].astype(np.int64) * products + product[named])
    ones = np.ones(len(pairs), np.float32)
    reviewed = coo_matrix((ones, (pairs // products, pairs % products)), (int(user.max()) + 1, products)).tocsr()
    together = (reviewed.T @ reviewed).tocsr()
    length = diags(1.0 / np.sqrt(np.maximum(together.diagonal(), 1.0)))
    cosine = (length @ together @ length).tolil()
    cosine.setdiag(0)
    cosine = cosine.tocsr()
    cosine.eliminate_zeros()
    return cosine.astype(np.float32)


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

    weights: Float64 = minimize(loss, np.zeros(signals.shape[2]), jac=True, method="L-BFGS-B").x
    return weights
