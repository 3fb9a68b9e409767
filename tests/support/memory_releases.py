"""The release service, answered from memory."""

from typing import Any

from tests.support.memory_state import OTHER_RELEASE_ID, RELEASE_ID, Memory
from twotower.errors import FieldViolation, InvalidArgument, NotFound
from twotower.v1 import release_service_pb2, release_service_pb2_grpc

STABLE = release_service_pb2.RELEASE_LABEL_STABLE
CANARY = release_service_pb2.RELEASE_LABEL_CANARY
SHADOW = release_service_pb2.RELEASE_LABEL_SHADOW


class MemoryReleases(release_service_pb2_grpc.ReleaseServiceServicer):
    """Two releases, the older one stable."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def ListReleases(self, request: Any, context: Any) -> Any:
        self._memory.arrive("ListReleases", request)
        return release_service_pb2.ListReleasesResponse(
            releases=[self._release(OTHER_RELEASE_ID), self._release(RELEASE_ID)]
        )

    async def LoadRelease(self, request: Any, context: Any) -> Any:
        self._memory.arrive("LoadRelease", request)
        self._label(request.release_id, STABLE)
        return release_service_pb2.LoadReleaseResponse(release=self._release(request.release_id))

    async def SetLabel(self, request: Any, context: Any) -> Any:
        self._memory.arrive("SetLabel", request)
        if request.label == CANARY and not 0 < request.canary_share <= 1:
            raise InvalidArgument(
                [FieldViolation("canary_share", f"must be above 0 and at most 1, got {request.canary_share:g}")]
            )
        self._memory.canary_share = request.canary_share
        self._label(request.release_id, request.label)
        return release_service_pb2.SetLabelResponse(release=self._release(request.release_id))

    async def Rollback(self, request: Any, context: Any) -> Any:
        self._memory.arrive("Rollback", request)
        if not self._memory.stable_before:
            raise NotFound("no release was stable before")
        release_id = self._memory.stable_before
        self._label(release_id, STABLE)
        return release_service_pb2.RollbackResponse(release=self._release(release_id))

    def _label(self, release_id: str, label: Any) -> None:
        if release_id not in (RELEASE_ID, OTHER_RELEASE_ID):
            raise NotFound(f"release {release_id!r} is not in the folder")
        holders = [key for key, value in self._memory.labels.items() if value == label]
        for holder in holders:
            del self._memory.labels[holder]
            if label == STABLE and holder != release_id:
                self._memory.stable_before = holder
        self._memory.labels[release_id] = label

    def _release(self, release_id: str) -> release_service_pb2.ReleaseInfo:
        label = self._memory.labels.get(release_id, 0)
        info = release_service_pb2.ReleaseInfo(
            release_id=release_id,
            preset=release_id.rpartition("-")[0],
            product_count=len(self._memory.products),
            label=label,
        )
        info.create_time.FromJsonString("2026-01-02T03:04:05Z")
        if label == CANARY:
            info.canary_share = self._memory.canary_share
        if label == SHADOW:
            info.shadow_comparison.user_count = 200
            info.shadow_comparison.rank_overlap_at_10 = 0.75
            info.shadow_comparison.mean_score_difference = 0.5
        return info
