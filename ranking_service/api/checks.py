"""Whether requests keep the rules of the API's field comments: pure functions, all violations of a request at once.

Each raises :class:`~twotower.errors.InvalidArgument` with one violation per broken rule.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from google.protobuf import duration_pb2

from ranking_service.ranking.jobs import work_per_user
from ranking_service.ranking.ranker import MAX_USERS
from ranking_service.release.registry import check_release_id
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import MAX_RATING, MIN_RATING, id_problem
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import release_service_pb2, types_pb2

MAX_K: Final = 10_000
"""Products of one answer: each is a message, made in the event loop."""
MAX_WORK: Final = 50_000
"""Of diversity in one batch, beside what its users cost without, in units of about 10 µs: half a second of one core."""
MAX_PRODUCTS: Final = 1_024
MAX_DURATION_S: Final = 315_576_000_000
"""The longest that protobuf's Duration may be: ten thousand years."""
MAX_FILTER_NAMES: Final = 64
MAX_ADDED_PRODUCTS: Final = 256
MAX_TEXT_BYTES: Final = 16 * 2**10
MAX_ANSWER_BYTES: Final = 4 * 2**20
"""The longest message that gRPC clients read unless they are told to read longer ones."""
_PRODUCT_BYTES: Final = 11
"""Of a product in a batch's answer, beside its id: tag and length of the id, score, predicted rating."""
_USER_BYTES: Final = 256
"""Of a user in a batch's answer, beside the products; generous."""
MAX_PAGE_SIZE: Final = 1_000
DEFAULT_PAGE_SIZE: Final = 100


def check_recommend(request: pb.RecommendRequest, product_count: int) -> None:
    """Check that there is one user, k within the catalogue, and rules that can be kept."""
    raise_if_any([*_id("user_id", request.user_id), *_k(request.k, product_count), *_rules(request)])


def check_batch_recommend(request: pb.BatchRecommendRequest, product_count: int, longest_id_bytes: int) -> None:
    """Check that there are 1 to 1,024 users, k within the catalogue and the answer's size, and rules that can be kept.

    Args:
        request: the request.
        product_count: size of the catalogue.
        longest_id_bytes: of the catalogue's product ids.
    """
    violations = [*_ids("user_ids", request.user_ids, MAX_USERS), *_k(request.k, product_count)]
    users, per_product = len(request.user_ids), longest_id_bytes + _PRODUCT_BYTES
    if not violations and users * (request.k * per_product + _USER_BYTES) > MAX_ANSWER_BYTES:
        most = (MAX_ANSWER_BYTES // users - _USER_BYTES) // per_product
        problem = (
            f"must be at most {most} for {users} users, got {request.k}: users times k are bounded so that the answer "
            f"stays below {MAX_ANSWER_BYTES // 2**20} MiB; ask for fewer products, or for fewer users at a time"
        )
        violations.append(FieldViolation("k", problem))
    raise_if_any([*violations, *_rules(request)])
    if request.diversity_strength:
        # The catalogue is not counted: it costs as much without, and the bound of the answer is enough for that.
        work = work_per_user(request.k, 0, diverse=True)
        if users * work > MAX_WORK:
            problem = (
                f"must be at most {max(1, MAX_WORK // work)} users with diversity and k {request.k}, got {users}: "
                f"a batch does at most {MAX_WORK} units of work, here {work} per user; ask for fewer users at a time, "
                "or for fewer products"
            )
            raise_if_any([FieldViolation("user_ids", problem)])


def check_predict_ratings(request: pb.PredictRatingsRequest) -> None:
    """Check that there are one user and 1 to 1,024 products."""
    violations = [*_id("user_id", request.user_id), *_ids("product_ids", request.product_ids, MAX_PRODUCTS)]
    raise_if_any([*violations, *_duration("max_staleness", request.max_staleness)])


def check_similar_products(request: pb.SimilarProductsRequest, product_count: int) -> None:
    """Check that there is one product, and k within the catalogue."""
    raise_if_any([*_id("product_id", request.product_id), *_k(request.k, product_count)])


def check_get_product(request: pb.GetProductRequest) -> None:
    """Check that there is one product."""
    raise_if_any(_id("product_id", request.product_id))


def check_list_products(request: pb.ListProductsRequest | pb.ListAddedProductsRequest) -> int:
    """Check the size of a page, and return the one to use."""
    raise_if_any(_at_most("page_size", request.page_size, MAX_PAGE_SIZE))
    return request.page_size or DEFAULT_PAGE_SIZE


def check_upsert_products(request: pb.UpsertProductsRequest) -> None:
    """Check that there are 1 to 256 products, each once and with a name, and no text above 16 KiB."""
    products = request.products
    if not 1 <= len(products) <= MAX_ADDED_PRODUCTS:
        raise_if_any([FieldViolation("products", f"must be 1 to {MAX_ADDED_PRODUCTS}, got {len(products)}")])
    raise_if_any(
        violation for index, product in enumerate(products) for violation in _product(f"products[{index}]", product)
    )
    product_ids: set[str] = set()
    for index, product in enumerate(products):
        if product.product_id in product_ids:
            problem = f"{product.product_id!r} is there twice"
            raise_if_any([FieldViolation(f"products[{index}].product_id", problem)])
        product_ids.add(product.product_id)


def check_product_ids(request: pb.RemoveAddedProductsRequest | pb.WithdrawProductsRequest) -> None:
    """Check that there are 1 to 256 products."""
    raise_if_any(_ids("product_ids", request.product_ids, MAX_ADDED_PRODUCTS))


def check_load_release(request: release_service_pb2.LoadReleaseRequest) -> None:
    """Check the release id."""
    check_release_id(request.release_id)


def check_set_label(request: release_service_pb2.SetLabelRequest) -> None:
    """Check that there are a release, a label that exists, and a share if and only if it is for the canary."""
    check_release_id(request.release_id)
    if request.label not in release_service_pb2.ReleaseLabel.values():
        raise_if_any([FieldViolation("label", f"must be one of the labels, got {request.label}")])
    share = request.canary_share
    if request.label == release_service_pb2.RELEASE_LABEL_CANARY:
        if not 0 < share <= 1:
            raise_if_any([FieldViolation("canary_share", f"must be above 0 and at most 1, got {share:g}")])
    elif share:
        raise_if_any([FieldViolation("canary_share", "must be unset for other labels than canary")])


def raise_if_any(violations: Iterable[FieldViolation]) -> None:
    """Raise InvalidArgument with all violations, if there are any."""
    if found := list(violations):
        raise InvalidArgument(found)


def _product(field: str, product: types_pb2.Product) -> list[FieldViolation]:
    violations = _id(f"{field}.product_id", product.product_id)
    if not product.name.strip():
        violations.append(FieldViolation(f"{field}.name", "must not be empty"))
    for name in ("name", "brand", "categories", "manufacturer"):
        violations += _at_most(
            f"{field}.{name}", len(getattr(product, name).encode()), MAX_TEXT_BYTES, " bytes of UTF-8"
        )
    return violations


def _rules(request: pb.RecommendRequest | pb.BatchRecommendRequest) -> list[FieldViolation]:
    """Check the rules of ranking: staleness, diversity and the filter."""
    violations = _duration("max_staleness", request.max_staleness)
    if not 0 <= request.diversity_strength <= 1:  # also for NaN
        violations.append(FieldViolation("diversity_strength", f"must be 0 to 1, got {request.diversity_strength:g}"))
    rules = request.filter
    violations += _at_most("filter.allowed_product_ids", len(rules.allowed_product_ids), MAX_PRODUCTS)
    violations += _at_most("filter.denied_product_ids", len(rules.denied_product_ids), MAX_PRODUCTS)
    violations += _at_most("filter.categories", len(rules.categories), MAX_FILTER_NAMES)
    violations += _at_most("filter.brands", len(rules.brands), MAX_FILTER_NAMES)
    if not MIN_RATING <= rules.min_predicted_rating <= MAX_RATING:
        problem = f"must be {MIN_RATING:g} to {MAX_RATING:g}, got {rules.min_predicted_rating:g}"
        violations.append(FieldViolation("filter.min_predicted_rating", problem))
    return violations


def _duration(field: str, value: duration_pb2.Duration) -> list[FieldViolation]:
    if value.seconds < 0 or value.nanos < 0:
        return [FieldViolation(field, "must not be negative")]
    if value.seconds > MAX_DURATION_S:
        return [FieldViolation(field, f"must be at most {MAX_DURATION_S} s, got {value.seconds} s")]
    return []


def _id(field: str, value: str) -> list[FieldViolation]:
    problem = id_problem(value)
    return [FieldViolation(field, problem)] if problem else []


def _ids(field: str, values: Sequence[str], most: int) -> list[FieldViolation]:
    if not 1 <= len(values) <= most:
        return [FieldViolation(field, f"must be 1 to {most}, got {len(values)}")]
    return [
        FieldViolation(f"{field}[{index}]", problem)
        for index, value in enumerate(values)
        if (problem := id_problem(value))
    ]


def _k(k: int, product_count: int) -> list[FieldViolation]:
    if 1 <= k <= min(product_count, MAX_K):
        return []
    if product_count > MAX_K:
        return [FieldViolation("k", f"must be 1 to {MAX_K}, got {k}")]
    return [FieldViolation("k", f"must be 1 to {product_count}, the size of the catalogue, got {k}")]


def _at_most(field: str, count: int, most: int, unit: str = "") -> list[FieldViolation]:
    return [] if count <= most else [FieldViolation(field, f"must be at most {most}{unit}, got {count}")]
