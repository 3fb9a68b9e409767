"""Domain values to and from messages: the only place where the ranking API's answers are put together."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime

from google.protobuf import duration_pb2

from ranking_service.ranking.jobs import PLAIN, Explanations, Page, RankJob, Selection
from ranking_service.ranking.ranker import Durations, Ranking
from ranking_service.release.catalogue import Catalogue
from ranking_service.release.labels import Labels
from ranking_service.release.served import ServedRelease
from ranking_service.rollout.traffic import Comparison
from ranking_service.upstream.user_batch import Known
from twotower.errors import FieldViolation, InvalidArgument
from twotower.release import Manifest, Product
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import release_service_pb2, types_pb2


def fill(response: pb.RecommendResponse | pb.PredictRatingsResponse, ranking: Ranking, served: ServedRelease) -> None:
    """Put a ranking for one user into its answer."""
    (scored,) = ranking.parts
    response.release_id = served.release_id
    response.popularity_source = scored.popularity.source
    _fill_timing(response.timing, ranking.durations)
    _fill_user(response.user, scored.known[0])
    messages = response.recommendations if isinstance(response, pb.RecommendResponse) else response.predictions
    products, (count,) = served.catalogue.products, scored.counts
    for row, score, rating in zip(
        scored.products[0, :count].tolist(),
        scored.scores[0, :count].tolist(),
        scored.ratings[0, :count].tolist(),
        strict=True,
    ):
        product, message = products[row], messages.add()
        message.product_id, message.name, message.brand = product.product_id, product.name, product.brand
        message.score, message.predicted_rating = score, rating
    if scored.explanations:
        for message, explanation in zip(messages, _explanations(scored.explanations, served.catalogue), strict=True):
            message.explanation.CopyFrom(explanation)


def _explanations(explained: Explanations, catalogue: Catalogue) -> list[pb.Explanation]:
    """One message a product."""
    nearest = [catalogue.product_ids[row] for row in explained.nearest] or [""] * len(explained.similarity)
    columns = (explained.without_als, explained.without_bert, explained.without_popularity, explained.similarity)
    return [
        pb.Explanation(
            score_without_als=als,
            score_without_bert=bert,
            score_without_popularity=popularity,
            nearest_reviewed_product_id=product_id,
            nearest_reviewed_similarity=similarity,
        )
        for als, bert, popularity, similarity, product_id in zip(
            *(column.tolist() for column in columns), nearest, strict=True
        )
    ]


def rank_job(request: pb.RecommendRequest, page: Page | None = None) -> RankJob:
    """What one user's request asks for; checked before."""
    return RankJob(
        (request.user_id,),
        request.k,
        request.include_seen,
        _selection(request),
        request.max_staleness.ToTimedelta().total_seconds(),
        request.paginate,
        request.explain,
        page,
    )


def batch_job(request: pb.BatchRecommendRequest) -> RankJob:
    """What a request for many users asks for; checked before."""
    staleness_s = request.max_staleness.ToTimedelta().total_seconds()
    return RankJob(tuple(request.user_ids), request.k, request.include_seen, _selection(request), staleness_s)


def _selection(request: pb.RecommendRequest | pb.BatchRecommendRequest) -> Selection:
    chosen = request.filter
    if not (request.HasField("filter") or request.max_per_brand or request.diversity_strength):
        return PLAIN
    return Selection(
        allowed=tuple(chosen.allowed_product_ids),
        denied=tuple(chosen.denied_product_ids),
        categories=tuple(chosen.categories),
        brands=tuple(chosen.brands),
        min_rating=chosen.min_predicted_rating,
        max_per_brand=request.max_per_brand,
        diversity=request.diversity_strength,
    )


def added_products(request: pb.UpsertProductsRequest) -> list[Product]:
    """Products to add, without the numbers that they can't have."""
    return [
        Product(product.product_id, product.name, product.brand, product.categories, product.manufacturer, 0, 0.0)
        for product in request.products
    ]


def fill_batch(
    response: pb.BatchRecommendResponse, ranking: Ranking, served: ServedRelease, places: Sequence[int] | None = None
) -> None:
    """Put a ranking for many users into its answer: one result a user, added to those that are there.

    Made in place, a message costs a seventh of one that is made first and copied.

    Args:
        response: of the release that it names; the results name `served` if that is another.
        ranking: of `served`.
        served: the release.
        places: write the users' results to these places, which are there already, instead.
    """
    results, product_ids = response.results, served.catalogue.product_ids
    named = served.release_id if served.release_id != response.release_id else ""
    free = iter(places or ())
    for part in ranking.parts:
        scores, ratings = part.scores.astype("<f4", copy=False), part.ratings.astype("<f4", copy=False)
        columns = zip(part.products.tolist(), scores, ratings, part.counts, part.known, strict=True)
        for rows, user_scores, user_ratings, count, known in columns:
            result = results[next(free)] if places else results.add()
            result.product_ids.extend([product_ids[row] for row in rows[:count]])
            vector = result.scores
            vector.values, vector.dimension = user_scores[:count].tobytes(), count
            vector = result.predicted_ratings
            vector.values, vector.dimension = user_ratings[:count].tobytes(), count
            _fill_user(result.user, known)
            if named:
                result.release_id = named


def _fill_user(message: pb.UserContext, known: Known) -> None:
    """What is known of a user."""
    message.kind, message.als_origin, message.review_count = known.kind, known.als_origin, known.review_count
    if known.age_us >= 0:
        _fill_duration(message.feature_age, known.age_us)
    if known.staleness_us >= 0:
        _fill_duration(message.staleness, known.staleness_us)
    if known.degraded:
        message.degraded = True


def longest(durations: Sequence[Durations]) -> Durations:
    """Of parts that were answered side by side."""
    return Durations(
        max(part.queue_s for part in durations),
        max(part.feature_lookup_s for part in durations),
        max(part.compute_s for part in durations),
    )


def finish_batch(response: pb.BatchRecommendResponse, ranking: Ranking, durations: Durations) -> None:
    """Say what is the same for all users of an answer."""
    response.popularity_source = ranking.parts[0].popularity.source
    _fill_timing(response.timing, durations)


def _fill_timing(message: pb.Timing, durations: Durations) -> None:
    """Where the time went."""
    _fill_duration(message.queue, int(1e6 * durations.queue_s))
    _fill_duration(message.feature_lookup, int(1e6 * durations.feature_lookup_s))
    _fill_duration(message.compute, int(1e6 * durations.compute_s))


def product(row: Product) -> types_pb2.Product:
    """A row of the catalogue."""
    return types_pb2.Product(
        product_id=row.product_id,
        name=row.name,
        brand=row.brand,
        categories=row.categories,
        manufacturer=row.manufacturer,
        review_count=row.review_count,
        mean_rating=row.mean_rating,
    )


def release_info(manifest: Manifest, labels: Labels, comparison: Comparison) -> release_service_pb2.ReleaseInfo:
    """A release with its label."""
    release_id = manifest.release_id
    info = release_service_pb2.ReleaseInfo(
        release_id=release_id,
        preset=manifest.preset,
        product_count=manifest.product_count,
        space=types_pb2.EmbeddingSpace(encoder_id=manifest.encoder_id, als_id=manifest.als_id),
    )
    info.create_time.FromDatetime(datetime.fromisoformat(manifest.created_at))
    if release_id == labels.stable:
        info.label = release_service_pb2.RELEASE_LABEL_STABLE
    elif release_id == labels.canary:
        info.label = release_service_pb2.RELEASE_LABEL_CANARY
        info.canary_share = labels.canary_share
    elif release_id == labels.shadow:
        info.label = release_service_pb2.RELEASE_LABEL_SHADOW
        info.shadow_comparison.user_count = comparison.user_count
        info.shadow_comparison.rank_overlap_at_10 = comparison.mean_overlap
        info.shadow_comparison.mean_score_difference = comparison.mean_score_difference
    return info


def page_token(release_id: str, start: int) -> str:
    """Names the page of a release's catalogue that begins at row `start`."""
    return base64.urlsafe_b64encode(f"{release_id}:{start}".encode()).decode()


def page_start(token: str, release_id: str) -> int:
    """First row of the page that a token names; 0 for no token.

    Raises:
        InvalidArgument: the token is not one of ours, or of another release.
    """
    if not token:
        return 0
    try:
        named, start = base64.b64decode(token, altchars=b"-_", validate=True).decode().rsplit(":", 1)
        row = int(start)
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise InvalidArgument([FieldViolation("page_token", "must be a token from a previous answer")]) from error
    if named != release_id:
        raise InvalidArgument(
            [FieldViolation("page_token", f"is of release {named}, now {release_id} answers: begin again")]
        )
    if row < 0:
        raise InvalidArgument([FieldViolation("page_token", "must be a token from a previous answer")])
    return row


def _fill_duration(message: duration_pb2.Duration, microseconds: int) -> None:
    seconds, rest = divmod(microseconds, 1_000_000)
    message.seconds, message.nanos = seconds, 1000 * rest
