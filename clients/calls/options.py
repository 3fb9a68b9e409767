"""What a ranking may be asked for beside the user and k: each option's name, type, text and way into a request."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypedDict

from clients.calls.fields import allow_list, duration, flag, instance, number, texts, uint32
from twotower.v1 import ranking_service_pb2


@dataclass(frozen=True)
class ProductFilter:
    """Which products may be ranked; a product must pass every rule that is set.

    Attributes:
        allowed_product_ids: only these, 1 to 1,024; None for all. Ids that the release does not have are ignored.
        denied_product_ids: never these, up to 1,024. Ids that the release does not have are ignored.
        categories: only products in at least one of these, 1 to 64, whole names without case; None for all.
        brands: only products of these brands, 1 to 64, whole names without case; None for all.
        min_predicted_rating: only products with at least this predicted rating, 0 to 5.
    """

    allowed_product_ids: Sequence[str] | None = None
    denied_product_ids: Sequence[str] = ()
    categories: Sequence[str] | None = None
    brands: Sequence[str] | None = None
    min_predicted_rating: float = 0.0


class BatchOptions(TypedDict, total=False):
    """Options of `batch_recommend`, for all of its users. Their texts are the help of `twotower recommend` too."""

    include_seen: Annotated[bool, "Also rank products that the user has reviewed."]
    filter: Annotated[ProductFilter | None, "Rank only products that pass this filter."]
    max_per_brand: Annotated[int, "Take at most this many products of one brand, over all pages; no limit if 0."]
    diversity_strength: Annotated[
        float, "How much likeness to the products before it counts against a product, 0 (plain order) to 1."
    ]
    max_staleness_s: Annotated[
        float | None,
        "Take features that were looked up at most this many seconds ago, also while the embedding service is away; "
        "by default they are looked up anew. More than an hour counts as an hour.",
    ]


class RecommendOptions(BatchOptions, total=False):
    """Options of `recommend` and `recommend_pages`."""

    explain: Annotated[bool, "Explain the score of every product; this costs two more scorings of the user."]


_CONVERT: Final[Mapping[str, Callable[[object, str], Any]]] = {
    "include_seen": flag,
    "explain": flag,
    "max_per_brand": uint32,
    "diversity_strength": number,
}
"""Options that are fields of the same name."""


def option_fields(options: BatchOptions, names: Collection[str]) -> dict[str, Any]:
    """Turn options into fields of a request.

    Raises:
        TypeError: an option is not among `names`.
        InvalidArgument: the request can't carry a value.
    """
    if unknown := options.keys() - set(names):
        raise TypeError(f"unexpected option {min(unknown)!r}, must be one of {', '.join(names)}")
    fields = {name: _CONVERT[name](value, name) for name, value in options.items() if name in _CONVERT}
    fields["filter"] = _filter(options.get("filter"))
    fields["max_staleness"] = duration(options.get("max_staleness_s"), "max_staleness")
    return fields


def _filter(rules: ProductFilter | None) -> ranking_service_pb2.ProductFilter | None:
    if rules is None:
        return None
    rules = instance(rules, ProductFilter, "filter")
    return ranking_service_pb2.ProductFilter(
        allowed_product_ids=allow_list(rules.allowed_product_ids, "filter.allowed_product_ids"),
        denied_product_ids=texts(rules.denied_product_ids, "filter.denied_product_ids"),
        categories=allow_list(rules.categories, "filter.categories"),
        brands=allow_list(rules.brands, "filter.brands"),
        min_predicted_rating=number(rules.min_predicted_rating, "filter.min_predicted_rating"),
    )
