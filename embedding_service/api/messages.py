"""Domain values to and from messages."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final

import numpy as np

from embedding_service.api.answers import seen_in_answer
from embedding_service.ports import ActiveRelease, AlsOrigin, KeptReview, KeptUser, NewReview, Outcome, Space
from embedding_service.releases.spaces import LoadedRelease
from embedding_service.usecases.importing import Batch, SentUser
from embedding_service.usecases.popularity import LivePopularity
from embedding_service.usecases.users import Features, Recorded, WrittenReview
from twotower.encoder import Encoded
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import ALS_DIM, BERT_DIM, FIXED_POINT_SCALE, Float32, Int16, dequantize
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2
from twotower.wire import from_vector, to_vector

_ORIGINS: Final[dict[int, types_pb2.AlsOrigin]] = {
    AlsOrigin.TRAINED: types_pb2.ALS_ORIGIN_TRAINED,
    AlsOrigin.FOLDED_IN: types_pb2.ALS_ORIGIN_FOLDED_IN,
    AlsOrigin.NONE: types_pb2.ALS_ORIGIN_NONE,
}
_OUTCOMES: Final = {
    Outcome.RECORDED: pb.RECORD_OUTCOME_RECORDED,
    Outcome.DUPLICATE: pb.RECORD_OUTCOME_DUPLICATE,
    Outcome.REPLACED: pb.RECORD_OUTCOME_REPLACED,
    Outcome.ANONYMOUS: pb.RECORD_OUTCOME_ANONYMOUS,
}
_NORM_TOLERANCE: Final = 1e-3


def to_space(space: types_pb2.EmbeddingSpace) -> Space:
    """A space from its message."""
    return Space(space.encoder_id, space.als_id)


def from_loaded(release: LoadedRelease, current: ActiveRelease) -> pb.LoadedSpace:
    """A release whose space can be asked for, and what it is held for."""
    state = {current.release_id: pb.SPACE_STATE_ACTIVE, current.previous_id: pb.SPACE_STATE_PREVIOUS}
    return pb.LoadedSpace(
        release_id=release.release_id,
        space=types_pb2.EmbeddingSpace(encoder_id=release.space.encoder_id, als_id=release.space.als_id),
        state=state.get(release.release_id, pb.SPACE_STATE_PREPARED),
    )


def to_written_review(review: types_pb2.Review) -> WrittenReview:
    """A review from its message, checked before."""
    time_ns = review.review_time.ToNanoseconds() if review.HasField("review_time") else None
    return WrittenReview(
        review.review_id, review.user_id, review.product_id, review.rating, review.title, review.text, time_ns
    )


def from_recorded(recorded: Recorded) -> pb.RecordReviewResponse:
    """What became of one review."""
    return pb.RecordReviewResponse(
        outcome=_OUTCOMES[recorded.outcome],
        review_count=recorded.review_count,
        text_truncated=recorded.text_truncated,
        product_known=recorded.product_known,
        release_id=recorded.release_id,
    )


def add_features(features: Features, add: Callable[..., types_pb2.UserFeatures]) -> None:
    """Add one message per user, in place: half the time of making each and copying it.

    The rows are cut from two blocks of bytes.
    """
    encoder_id, als_id = features.release.space.encoder_id, features.release.space.als_id
    bert, als = features.bert_mean.astype("<f4").tobytes(), features.als.astype("<f4").tobytes()
    seen = seen_in_answer(features)
    counts, ages_us, origins = features.counts.tolist(), features.ages_us.tolist(), features.als_origins.tolist()
    for row, user_id in enumerate(features.user_ids):
        message = add(
            user_id=user_id,
            kind=_kind(features.anonymous[row], counts[row]),
            als_origin=_ORIGINS[origins[row]],
            review_count=counts[row],
            seen_product_ids=seen[row],
        )
        mean, vector, space = message.bert_mean, message.als, message.space
        mean.values, mean.dimension = bert[4 * BERT_DIM * row : 4 * BERT_DIM * (row + 1)], BERT_DIM
        vector.values, vector.dimension = als[4 * ALS_DIM * row : 4 * ALS_DIM * (row + 1)], ALS_DIM
        space.encoder_id, space.als_id = encoder_id, als_id
        if ages_us[row] >= 0:
            age = message.age
            age.seconds, microseconds = divmod(ages_us[row], 1_000_000)
            age.nanos = 1000 * microseconds


def fill_columns(features: Features, columns: pb.UserFeatureColumns) -> None:
    """Fill one message for all users: one copy per matrix, and no object per user."""
    counts, seen = features.counts.tolist(), seen_in_answer(features)
    columns.kinds.extend([_kind(anonymous, count) for anonymous, count in zip(features.anonymous, counts, strict=True)])
    columns.bert_means = features.bert_mean.astype("<f4", copy=False).tobytes()
    columns.als = features.als.astype("<f4", copy=False).tobytes()
    columns.als_origins.extend([_ORIGINS[origin] for origin in features.als_origins.tolist()])
    columns.review_counts.extend(counts)
    columns.ages_us.extend(features.ages_us.tolist())
    columns.seen_counts.extend(map(len, seen))
    columns.seen_product_ids.extend(chain.from_iterable(seen))
    columns.space.encoder_id, columns.space.als_id = features.release.space.encoder_id, features.release.space.als_id


def from_encoded(encoded: Encoded) -> list[pb.TextEmbedding]:
    """One message per text."""
    rows = zip(dequantize(encoded.fixed_point), encoded.truncated, encoded.token_counts, strict=True)
    return [pb.TextEmbedding(embedding=to_vector(row), truncated=cut, token_count=tokens) for row, cut, tokens in rows]


def from_kept(kept: KeptUser | None, reviews: Sequence[KeptReview], next_page: str) -> pb.ExportUserResponse:
    """A page of all that is kept of a user; `kept` is for the first one."""
    response = pb.ExportUserResponse(next_page_token=next_page)
    for state in kept.states if kept else ():
        exported = response.states.add(
            encoder_id=state.encoder_id,
            review_count=state.review_count,
            bert_mean=to_vector(state.bert_mean),
            seen_product_ids=state.seen_product_ids,
        )
        exported.change_time.FromMicroseconds(state.changed_us)
    for als in kept.als if kept else ():
        response.als.add(als_id=als.als_id, origin=_ORIGINS.get(als.origin), als=to_vector(als.vector))
    for tombstone in kept.tombstones if kept else ():
        response.tombstones.add(review_id=tombstone.review_id).time.FromMicroseconds(tombstone.time_us)
    for review in reviews:
        message = response.reviews.add(
            encoder_id=review.encoder_id,
            review_id=review.review_id,
            product_id=review.product_id,
            rating=review.rating,
            embedding=to_vector(dequantize(review.fixed_point)),
        )
        if review.time_us is not None:
            message.review_time.FromMicroseconds(review.time_us)
    return response


def from_popularity(popularity: LivePopularity) -> pb.GetPopularityResponse:
    """Live popularity."""
    response = pb.GetPopularityResponse(product_ids=popularity.product_ids, weights=to_vector(popularity.weights))
    response.half_life.FromSeconds(round(popularity.half_life_days * 86_400))
    response.as_of_time.FromMicroseconds(popularity.as_of_us)
    return response


def to_batch(batch: pb.ImportBatch) -> Batch:
    """A batch of users from its message, checked before.

    Raises:
        InvalidArgument: an ALS vector of another dimension, or an embedding that is not of unit length.
    """
    block = np.frombuffer(
        b"".join(review.fixed_point for user in batch.users for review in user.reviews), "<i2"
    ).reshape(-1, BERT_DIM)
    _check_unit_length(batch, block)
    rows, als = iter(block), _als_block(batch)
    users = []
    for user, vector in zip(batch.users, als, strict=True):
        user_id = user.user_id
        reviews = [
            NewReview(user_id, review.review_id, review.product_id, review.rating, _time_us(review), row, b"")
            for review, row in zip(user.reviews, rows, strict=False)
        ]
        users.append(SentUser(user_id, reviews, vector))
    return Batch(users, block)


def _als_block(batch: pb.ImportBatch) -> Float32:
    """ALS vectors (users, 64), checked all at once, and one by one only to name what is wrong."""
    vectors = [user.als for user in batch.users]
    if all(vector.dimension == ALS_DIM and len(vector.values) == 4 * ALS_DIM for vector in vectors):
        block = np.frombuffer(b"".join([vector.values for vector in vectors]), "<f4").reshape(-1, ALS_DIM)
        if np.isfinite(block).all():
            return block
    return np.array([from_vector(vector, ALS_DIM, f"batch.users[{i}].als") for i, vector in enumerate(vectors)])


def _time_us(review: pb.ImportedReview) -> int | None:
    if not review.HasField("review_time"):
        return None
    time = review.review_time
    return time.seconds * 1_000_000 + time.nanos // 1000


def _check_unit_length(batch: pb.ImportBatch, block: Int16) -> None:
    lengths = np.sqrt(np.square(block, dtype=np.float64).sum(axis=1)) / FIXED_POINT_SCALE
    # -32768 is no fixed-point value, and enough of them would overflow a sum.
    wrong = (np.abs(lengths - 1) > _NORM_TOLERANCE) | (block.min(axis=1, initial=0) < -FIXED_POINT_SCALE)
    if wrong.any():
        row = int(wrong.argmax())
        paths = (
            f"batch.users[{i}].reviews[{j}].fixed_point"
            for i, user in enumerate(batch.users)
            for j in range(len(user.reviews))
        )
        path = next(path for index, path in enumerate(paths) if index == row)
        raise InvalidArgument(
            [FieldViolation(path, f"must be a unit vector times {FIXED_POINT_SCALE}, its length is {lengths[row]:.4f}")]
        )


def _kind(anonymous: bool, count: int) -> types_pb2.UserKind:
    if anonymous:
        return types_pb2.USER_KIND_ANONYMOUS
    return types_pb2.USER_KIND_WARM if count else types_pb2.USER_KIND_COLD
