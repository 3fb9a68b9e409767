"""Domain values to and from messages: the only place where the ranking API's answers are put together."""

import base64
import binascii
from datetime import datetime

from google.protobuf import duration_pb2

from ranking_service.catalogue import Catalogue
from ranking_service.ranker import Durations, Ranking, ScoredProducts
from twotower.errors import FieldViolation, InvalidArgument
from twotower.release import Manifest, Product
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import release_service_pb2, types_pb2
from twotower.wire import to_vector


def recommendations(ranking: Ranking, catalogue: Catalogue) -> list[pb.Recommendation]:
    """One message a product, in order, of a ranking for one user."""
    (scored,) = ranking.parts
    (count,) = scored.counts
    products = catalogue.products
    return [
        pb.Recommendation(
            product_id=products[row].product_id, name=products[row].name, brand=products[row].brand, score=score, predicted_rating=rating
        )
        for row, score, rating in zip(
            scored.products[0, :count].tolist(), scored.scores[0].tolist(), scored.ratings[0].tolist(), strict=False
        )
    ]


def user(ranking: Ranking) -> pb.UserContext:
    """What is known of the one user of a ranking."""
    (scored,) = ranking.parts
    (context,) = scored.contexts
    return context


def ranked_products(scored: ScoredProducts, catalogue: Catalogue) -> list[pb.RankedProducts]:
    """Each user's products in columns."""
    product_ids = catalogue.product_ids
    columns = zip(scored.products.tolist(), scored.scores, scored.ratings, scored.counts, scored.contexts, strict=True)
    return [
        pb.RankedProducts(
            product_ids=[product_ids[row] for row in rows[:count]],
            scores=to_vector(scores[:count]),
            predicted_ratings=to_vector(ratings[:count]),
            user=context,
        )
        for rows, scores, ratings, count, context in columns
    ]


def timing(durations: Durations) -> pb.Timing:
    """Where the time went."""
    return pb.Timing(
        queue=_duration(durations.queue_s),
        feature_lookup=_duration(durations.feature_lookup_s),
        compute=_duration(durations.compute_s),
    )


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


def release_info(manifest: Manifest, serving_id: str) -> release_service_pb2.ReleaseInfo:
    """A release, labelled `stable` if it is the one that answers."""
    stable = manifest.release_id == serving_id
    info = release_service_pb2.ReleaseInfo(
        release_id=manifest.release_id,
        preset=manifest.preset,
        product_count=manifest.product_count,
        space=types_pb2.EmbeddingSpace(encoder_id=manifest.encoder_id, als_id=manifest.als_id),
        label=release_service_pb2.RELEASE_LABEL_STABLE if stable else release_service_pb2.RELEASE_LABEL_UNSPECIFIED,
    )
    info.create_time.FromDatetime(datetime.fromisoformat(manifest.created_at))
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
        raise InvalidArgument([FieldViolation("page_token", f"is of release {named}, now {release_id} answers: begin again")])
    if row < 0:
        raise InvalidArgument([FieldViolation("page_token", "must be a token from a previous answer")])
    return row


def _duration(seconds: float) -> duration_pb2.Duration:
    nanoseconds = int(seconds * 1e9)
    return duration_pb2.Duration(seconds=nanoseconds // 1_000_000_000, nanos=nanoseconds % 1_000_000_000)
