"""What the release service answers."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from clients.results.users import EmbeddingSpace


class ReleaseLabel(StrEnum):
    """What a release is used for; one that is only in the folder is UNSPECIFIED."""

    UNSPECIFIED = "unspecified"
    STABLE = "stable"
    CANARY = "canary"
    SHADOW = "shadow"


@dataclass(frozen=True)
class ShadowComparison:
    """How a shadow's answers compare with the stable release's, on a sample of the traffic.

    Attributes:
        user_count: users compared.
        rank_overlap_at_10: mean share of the stable release's best 10 that are among the shadow's best 10, 0 to 1.
        mean_score_difference: mean absolute difference between the two releases' scores of the stable release's best
            10, as far as the shadow has them.
    """

    user_count: int
    rank_overlap_at_10: float
    mean_score_difference: float


@dataclass(frozen=True)
class ReleaseInfo:
    """One release of the ranking server's folder.

    Attributes:
        release_id: content id.
        preset: the preset with which it was trained.
        create_time: when it was written, in UTC.
        product_count: products in its catalogue.
        space: its spaces.
        label: what it is used for now.
        canary_share: share of the users that the canary answers; 0 for any other.
        shadow_comparison: how the shadow compares since it has its label; None for any other.
    """

    release_id: str
    preset: str
    create_time: datetime
    product_count: int
    space: EmbeddingSpace
    label: ReleaseLabel
    canary_share: float
    shadow_comparison: ShadowComparison | None
