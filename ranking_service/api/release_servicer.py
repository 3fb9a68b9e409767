"""The gRPC boundary of ``ReleaseService``: check, call, convert."""

from collections.abc import Sequence
from typing import Any

import grpc

from ranking_service.api import checks, messages
from ranking_service.release.registry import check_release_id
from ranking_service.rollout.releases import Releases
from ranking_service.rollout.traffic import Traffic
from ranking_service.upstream.user_spaces import UserSpaces
from twotower.release import Manifest
from twotower.v1 import embedding_service_pb2, release_service_pb2_grpc
from twotower.v1 import release_service_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]


class ReleaseServicer(release_service_pb2_grpc.ReleaseServiceServicer):
    """``twotower.v1.ReleaseService``."""

    def __init__(self, releases: Releases, traffic: Traffic, spaces: UserSpaces) -> None:
        self._releases = releases
        self._spaces = spaces
        self._traffic = traffic

    async def ListReleases(self, request: pb.ListReleasesRequest, context: Context) -> pb.ListReleasesResponse:
        """List the releases in the registry."""
        held = await self._spaces.held()
        return pb.ListReleasesResponse(
            releases=[self._described(manifest, held) for manifest in await self._releases.list()]
        )

    async def PrepareRelease(self, request: pb.PrepareReleaseRequest, context: Context) -> pb.PrepareReleaseResponse:
        """Open a release without serving it."""
        check_release_id(request.release_id)
        served = await self._releases.prepare(request.release_id)
        return pb.PrepareReleaseResponse(release=await self._info(served.manifest))

    async def LoadRelease(self, request: pb.LoadReleaseRequest, context: Context) -> pb.LoadReleaseResponse:
        """Make a release `stable`."""
        checks.check_load_release(request)
        served = await self._releases.load(request.release_id)
        return pb.LoadReleaseResponse(release=await self._info(served.manifest))

    async def SetLabel(self, request: pb.SetLabelRequest, context: Context) -> pb.SetLabelResponse:
        """Give a release a label, or take it away."""
        checks.check_set_label(request)
        if request.label == pb.RELEASE_LABEL_UNSPECIFIED:
            await self._releases.clear(request.release_id)
            manifests = {manifest.release_id: manifest for manifest in await self._releases.list()}
            manifest = manifests.get(request.release_id)
            return pb.SetLabelResponse(
                release=await self._info(manifest) if manifest else pb.ReleaseInfo(release_id=request.release_id)
            )
        if request.label == pb.RELEASE_LABEL_CANARY:
            served = await self._releases.set_canary(request.release_id, request.canary_share)
        elif request.label == pb.RELEASE_LABEL_SHADOW:
            served = await self._releases.set_shadow(request.release_id)
        else:
            served = await self._releases.load(request.release_id)
        return pb.SetLabelResponse(release=await self._info(served.manifest))

    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> pb.RollbackResponse:
        """Make the previous `stable` release `stable` again."""
        return pb.RollbackResponse(release=await self._info((await self._releases.roll_back()).manifest))

    async def _info(self, manifest: Manifest) -> pb.ReleaseInfo:
        return self._described(manifest, await self._spaces.held())

    def _described(
        self, manifest: Manifest, held: Sequence[embedding_service_pb2.LoadedSpace] | None
    ) -> pb.ReleaseInfo:
        info = messages.from_release(manifest, self._releases.labels, self._traffic.comparison)
        if held is not None:
            messages.fill_held(info, held)
        return info
