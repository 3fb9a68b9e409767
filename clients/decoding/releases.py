"""Answers of the release service."""

from datetime import UTC
from typing import Protocol

from clients.decoding.fields import enum_value
from clients.decoding.users import embedding_space
from clients.results import ReleaseInfo, ReleaseLabel, ShadowComparison
from twotower.v1 import release_service_pb2


class _Answer(Protocol):
    """The answer of LoadRelease, SetLabel and Rollback: the release that they changed."""

    @property
    def release(self) -> release_service_pb2.ReleaseInfo: ...


def release_info(message: release_service_pb2.ReleaseInfo) -> ReleaseInfo:
    """One release."""
    return ReleaseInfo(
        release_id=message.release_id,
        preset=message.preset,
        create_time=message.create_time.ToDatetime(UTC),
        product_count=message.product_count,
        space=embedding_space(message.space),
        label=enum_value(ReleaseLabel, release_service_pb2.ReleaseLabel, message.label),
        canary_share=message.canary_share,
        shadow_comparison=_comparison(message.shadow_comparison) if message.HasField("shadow_comparison") else None,
    )


def answered_release(message: _Answer) -> ReleaseInfo:
    """The release that a call changed."""
    return release_info(message.release)


def releases(message: release_service_pb2.ListReleasesResponse) -> tuple[ReleaseInfo, ...]:
    """The releases, newest first."""
    return tuple(map(release_info, message.releases))


def _comparison(message: release_service_pb2.ShadowComparison) -> ShadowComparison:
    return ShadowComparison(message.user_count, message.rank_overlap_at_10, message.mean_score_difference)
