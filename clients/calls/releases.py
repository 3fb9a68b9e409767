"""Calls of the release service, which the ranking server has."""

from clients import decoding, results
from clients.calls.fields import number, refuse, text
from clients.calls.methods import Call
from twotower.v1 import release_service_pb2


def list_releases() -> Call[tuple[results.ReleaseInfo, ...]]:
    """The releases in the ranking server's folder."""
    return Call(release_service_pb2.ListReleasesRequest(), decoding.releases)


def prepare_release(release_id: str) -> Call[results.ReleaseInfo]:
    """Open a release on ranking without letting it answer."""
    request = release_service_pb2.PrepareReleaseRequest(release_id=text(release_id, "release_id"))
    return Call(request, decoding.answered_release)


def load_release(release_id: str) -> Call[results.ReleaseInfo]:
    """Load a release and make it answer."""
    request = release_service_pb2.LoadReleaseRequest(release_id=text(release_id, "release_id"))
    return Call(request, decoding.answered_release)


def set_label(release_id: str, label: results.ReleaseLabel, canary_share: float = 0.0) -> Call[results.ReleaseInfo]:
    """Give a release a label, or take its label away."""
    if not isinstance(label, results.ReleaseLabel):
        refuse("label", f"must be one of {', '.join(map(str, results.ReleaseLabel.__members__.values()))}", label)
    request = release_service_pb2.SetLabelRequest(
        release_id=text(release_id, "release_id"),
        label=f"RELEASE_LABEL_{label.name}",
        canary_share=number(canary_share, "canary_share"),
    )
    return Call(request, decoding.answered_release)


def rollback() -> Call[results.ReleaseInfo]:
    """Make the release answer that was stable before."""
    return Call(release_service_pb2.RollbackRequest(), decoding.answered_release)
