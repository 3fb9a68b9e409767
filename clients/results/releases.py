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


class SpaceState(StrEnum):
    """What the embedding service holds a release for; UNSPECIFIED if it does not hold it."""

    UNSPECIFIED = "unspecified"
    ACTIVE = "active"
    PREVIOUS = "previous"
    PREPARED = "prepared"


@dataclass(frozen=True)
class LoadedSpace:
    """A release whose space the embedding service can be asked for, and what it is held for."""

    release_id: str
    space: EmbeddingSpace
    state: SpaceState


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
        previous: it was stable before the one that is; a rollback goes back to it.
        space_state: what the embedding service holds it for; None if it did not say.
        space_loaded: whether the embedding service answers for its space; None if it did not say.
    """

    release_id: str
    preset: str
    create_time: datetime
    product_count: int
    space: EmbeddingSpace
    label: ReleaseLabel
    canary_share: float
    shadow_comparison: ShadowComparison | None
    previous: bool = False
    space_state: SpaceState | None = None
    space_loaded: bool | None = None
