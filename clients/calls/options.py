"""What a ranking may be asked for beside the user and k."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict


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
    """Options of `batch_recommend`; each user is ranked by them.

    Keys:
        include_seen: also rank products that the user has reviewed.
        filter: which products may be ranked.
        max_per_brand: at most this many products of one brand, over all pages; no limit if 0.
        diversity_strength: 0 to 1: how much unlikeness to the products before it counts against a product's score; the
            plain order if 0.
        max_staleness_s: features that were looked up at most this many seconds ago will do, also while the embedding
            service is away; looked up anew if None or 0.
    """

    include_seen: bool
    filter: ProductFilter | None
    max_per_brand: int
    diversity_strength: float
    max_staleness_s: float | None


class RecommendOptions(BatchOptions, total=False):
    """Options of `recommend` and `recommend_pages`: those of :class:`BatchOptions`, and one more.

    Keys:
        explain: explain every product; costs two more scorings of the user.
    """

    explain: bool
