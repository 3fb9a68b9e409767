"""Settings of the ranking service: flags, or environment variables ``TWOTOWER_RANKING_*``."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RankingSettings(BaseSettings):
    """Ranks a release's catalogue for users over gRPC."""

    model_config = SettingsConfigDict(
        env_prefix="TWOTOWER_RANKING_",
        frozen=True,
        extra="forbid",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_prog_name="python -m ranking_service",
    )

    listen: str = Field("127.0.0.1:50052", description="host:port to serve on; port 0 takes a free one")
    releases: Path = Field(Path("var/releases"), description="folder of releases")
    embedding: str = Field("127.0.0.1:50051", description="host:port of the embedding service")
    release: str | None = Field(None, description="release to serve; if not given, the one in the pointer file <releases>/stable")
    lookup_timeout_ms: Annotated[int, Field(ge=1, le=10_000)] = Field(
        100, description="milliseconds that the embedding service may take for one batch; after that users are answered as cold ones"
    )
    queue_users: Annotated[int, Field(ge=1_024)] = Field(
        8192, description="users that may wait for a place in a batch; more are refused with RESOURCE_EXHAUSTED"
    )
    drain_s: Annotated[float, Field(ge=0)] = Field(10.0, description="seconds that calls in flight may take after SIGTERM")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe message to log")
