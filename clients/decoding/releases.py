"""Answers of the release service."""

from datetime import UTC
from typing import Protocol

from clients.decoding.fields import enum_value
from clients.decoding.users import embedding_space
from clients.results import LoadedSpace, ReleaseInfo, ReleaseLabel, ShadowComparison, SpaceState
from twotower.v1 import embedding_service_pb2, release_service_pb2


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
        previous=message.previous,
        space_state=enum_value(SpaceState, embedding_service_pb2.SpaceState, message.space_state)
        if message.HasField("space_state")
        else None,
        space_loaded=message.space_loaded if message.HasField("space_loaded") else None,
    )


def loaded_space(
    message: embedding_service_pb2.PrepareSpaceResponse | embedding_service_pb2.ActivateReleaseResponse,
) -> LoadedSpace:
    """The space that a call prepared or activated."""
    return _loaded(message.space)


def loaded_spaces(message: embedding_service_pb2.ListSpacesResponse) -> tuple[LoadedSpace, ...]:
    """The spaces that can be asked for, the active one first."""
    return tuple(map(_loaded, message.spaces))


def _loaded(message: embedding_service_pb2.LoadedSpace) -> LoadedSpace:
    state = enum_value(SpaceState, embedding_service_pb2.SpaceState, message.state)
    return LoadedSpace(message.release_id, embedding_space(message.space), state)


def answered_release(message: _Answer) -> ReleaseInfo:
    """The release that a call changed."""
    return release_info(message.release)


def releases(message: release_service_pb2.ListReleasesResponse) -> tuple[ReleaseInfo, ...]:
    """The releases, newest first."""
    return tuple(map(release_info, message.releases))


def _comparison(message: release_service_pb2.ShadowComparison) -> ShadowComparison:
    return ShadowComparison(message.user_count, message.rank_overlap_at_10, message.mean_score_difference)
