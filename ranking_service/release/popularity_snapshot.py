"""The popularity that scores hold."""

from dataclasses import dataclass

from twotower.features import Float32
from twotower.v1 import ranking_service_pb2


@dataclass(frozen=True, eq=False)
class PopularitySnapshot:
    """The popularity of every product at one moment.

    Attributes:
        log_popularity: (products,) float32; None for the release's own.
        version: the moment in Unix nanoseconds; 0 for the release's own.
        source: what the answer says of it.
    """

    log_popularity: Float32 | None = None
    version: int = 0
    source: ranking_service_pb2.PopularitySource = ranking_service_pb2.POPULARITY_SOURCE_RELEASE
