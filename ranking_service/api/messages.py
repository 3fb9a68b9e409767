"""Messages to domain values and back: the only place where the ranking API's answers are put together."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from google.protobuf import duration_pb2

from ranking_service.ranking.jobs import Explanations, Page, PredictJob, RankJob
from ranking_service.ranking.ranker import Durations, Ranking
from ranking_service.ranking.rerank import PLAIN, Selection
from ranking_service.release.catalogue import Catalogue
from ranking_service.release.labels import Labels
from ranking_service.release.served import ServedRelease
from ranking_service.rollout.added_products import AddedProduct
from ranking_service.rollout.traffic import Comparison
from ranking_service.upstream.user_batch import UserContext
from twotower.release import Manifest, Product
from twotower.v1 import embedding_service_pb2, release_service_pb2, types_pb2
from twotower.v1 import ranking_service_pb2 as pb


def fill_ranking(
    response: pb.RecommendResponse | pb.PredictRatingsResponse, ranking: Ranking, served: ServedRelease
) -> None:
    """Put a ranking for one user into its answer."""
    (scored,) = ranking.parts
    response.release_id = served.release_id
    response.popularity_source = scored.popularity.source
    _fill_timing(response.timing, ranking.durations)
    _fill_user(response.user, scored.contexts[0])
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
        for index, message in enumerate(messages):
            _fill_explanation(message.explanation, scored.explanations, index, served.catalogue)


def _fill_explanation(message: pb.Explanation, explanations: Explanations, index: int, catalogue: Catalogue) -> None:
    """Say why the product at this place of an answer is there."""
    message.score_without_als = explanations.without_als[index]
    message.score_without_bert = explanations.without_bert[index]
    message.score_without_popularity = explanations.without_popularity[index]
    message.nearest_reviewed_similarity = explanations.similarity[index]
    if explanations.nearest:
        message.nearest_reviewed_product_id = catalogue.product_ids[explanations.nearest[index]]


def to_rank_job(request: pb.RecommendRequest, page: Page | None = None) -> RankJob:
    """Convert ``RecommendRequest``, checked before."""
    return RankJob(
        (request.user_id,),
        request.k,
        request.include_seen,
        _to_selection(request),
        request.max_staleness.ToTimedelta().total_seconds(),
        request.paginate,
        request.explain,
        page,
    )


def to_batch_rank_job(request: pb.BatchRecommendRequest) -> RankJob:
    """Convert ``BatchRecommendRequest``, checked before."""
    staleness_s = request.max_staleness.ToTimedelta().total_seconds()
    return RankJob(tuple(request.user_ids), request.k, request.include_seen, _to_selection(request), staleness_s)


def to_predict_job(request: pb.PredictRatingsRequest, catalogue: Catalogue) -> PredictJob:
    """Convert ``PredictRatingsRequest``, checked before.

    Raises:
        NotFound: naming a product that the catalogue does not have, or that is withdrawn.
    """
    products = np.array([catalogue.find_offered(product_id) for product_id in request.product_ids], np.int64)
    return PredictJob((request.user_id,), products, request.max_staleness.ToTimedelta().total_seconds())


def _to_selection(request: pb.RecommendRequest | pb.BatchRecommendRequest) -> Selection:
    if not (request.HasField("filter") or request.max_per_brand or request.diversity_strength):
        return PLAIN
    rules = request.filter
    return Selection(
        allowed=tuple(rules.allowed_product_ids),
        denied=tuple(rules.denied_product_ids),
        categories=tuple(rules.categories),
        brands=tuple(rules.brands),
        min_rating=rules.min_predicted_rating,
        max_per_brand=request.max_per_brand,
        diversity=request.diversity_strength,
    )


def to_products(request: pb.UpsertProductsRequest) -> list[Product]:
    """Convert ``UpsertProductsRequest``, checked before, to products without any reviews."""
    return [
        Product(product.product_id, product.name, product.brand, product.categories, product.manufacturer, 0, 0.0)
        for product in request.products
    ]


def fill_batch(
    response: pb.BatchRecommendResponse, ranking: Ranking, served: ServedRelease, positions: Sequence[int] = ()
) -> None:
    """Put a ranking for many users into its answer, one result per user.

    Made in place, a message costs a seventh of one that is made first and copied (docs/adr/0007-batches-in-columns.md).

    Args:
        response: names a release; the results name `served` if that is another.
        ranking: of `served`.
        served: the release.
        positions: where the users' results are in the answer already; if there are none, results are added.
    """
    results, product_ids = response.results, served.catalogue.product_ids
    other_release_id = served.release_id if served.release_id != response.release_id else ""
    next_position = iter(positions)
    for part in ranking.parts:
        scores, ratings = part.scores.astype("<f4", copy=False), part.ratings.astype("<f4", copy=False)
        columns = zip(part.products.tolist(), scores, ratings, part.counts, part.contexts, strict=True)
        for rows, user_scores, user_ratings, count, context in columns:
            result = results[next(next_position)] if positions else results.add()
            result.product_ids.extend([product_ids[row] for row in rows[:count]])
            vector = result.scores
            vector.values, vector.dimension = user_scores[:count].tobytes(), count
            vector = result.predicted_ratings
            vector.values, vector.dimension = user_ratings[:count].tobytes(), count
            _fill_user(result.user, context)
            if other_release_id:
                result.release_id = other_release_id


def _fill_user(message: pb.UserContext, context: UserContext) -> None:
    """Say what is known of a user."""
    message.kind, message.als_origin, message.review_count = context.kind, context.als_origin, context.review_count
    if context.age_us >= 0:
        _fill_duration(message.feature_age, context.age_us)
    if context.staleness_us >= 0:
        _fill_duration(message.staleness, context.staleness_us)
    if context.degraded:
        message.degraded = True


def longest(durations: Sequence[Durations]) -> Durations:
    """Return the longest durations of parts that were answered side by side."""
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
    """Say where the time went."""
    _fill_duration(message.queue, int(1e6 * durations.queue_s))
    _fill_duration(message.feature_lookup, int(1e6 * durations.feature_lookup_s))
    _fill_duration(message.compute, int(1e6 * durations.compute_s))


def from_product(product: Product) -> types_pb2.Product:
    """Make the message of a product of the catalogue."""
    return types_pb2.Product(
        product_id=product.product_id,
        name=product.name,
        brand=product.brand,
        categories=product.categories,
        manufacturer=product.manufacturer,
        review_count=product.review_count,
        mean_rating=product.mean_rating,
    )


def from_added(entry: AddedProduct, is_served: bool) -> pb.AddedProduct:
    """Make the message of an upserted product."""
    texts = (entry.product_id, entry.name, entry.brand, entry.categories, entry.manufacturer)
    product = from_product(Product(*texts, 0, 0.0))
    return pb.AddedProduct(product=product, release_id=entry.release_id, served=is_served)


def from_release(manifest: Manifest, labels: Labels, comparison: Comparison) -> release_service_pb2.ReleaseInfo:
    """Make the message of a release, with its label."""
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
    info.previous = release_id == labels.previous
    return info


def fill_held(info: release_service_pb2.ReleaseInfo, held: Sequence[embedding_service_pb2.LoadedSpace]) -> None:
    """Say what the embedding service holds a release for."""
    states = {loaded.release_id: loaded.state for loaded in held}
    info.space_state = states.get(info.release_id, embedding_service_pb2.SPACE_STATE_UNSPECIFIED)
    info.space_loaded = any(loaded.space == info.space for loaded in held)


def _fill_duration(message: duration_pb2.Duration, microseconds: int) -> None:
    seconds, rest = divmod(microseconds, 1_000_000)
    message.seconds, message.nanos = seconds, 1000 * rest
