"""Settings of the ranking service: flags, or environment variables ``TWOTOWER_RANKING_*``."""

import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator

from twotower.loopback import is_loopback
from twotower.service import ServerSettings, check_address, settings_config

_KEY_BYTES: Final = 32


class RankingSettings(ServerSettings):
    """Ranks a release's catalogue for users over gRPC."""

    model_config = settings_config("ranking_service", "TWOTOWER_RANKING_")

    listen: str = Field(
        "127.0.0.1:50052", description="host:port to listen on for readers and writers; port 0 takes a free one"
    )
    admin_listen: str = Field("127.0.0.1:50062", description="host:port to listen on for operators")
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="processes that share the ports; each holds the release"
    )
    threads: Annotated[int | None, Field(ge=1)] = Field(
        None, description="cores to score on; all that the process may run on if unset"
    )
    releases: str = Field(
        "run/releases", description="folder of releases, or a URL that fsspec knows (s3://bucket/releases)"
    )
    mirror: Path = Field(Path("run/mirror"), description="local folder for the copies of releases that come from a URL")
    state_dir: Path | None = Field(
        None,
        description="folder of the small files that this service writes: labels, added and withdrawn products; the "
        "folder of releases, which may then not be read-only, if unset",
    )
    two_stage_above: Annotated[int, Field(ge=0)] = Field(
        0,
        description="size of a catalogue, in products, above which an index proposes what is scored for plain "
        "requests, nearly exactly; 0: never",
    )
    embedding: str = Field("127.0.0.1:50051", description="host:port of the embedding service")
    embedding_admin: str = Field(
        "127.0.0.1:50061",
        description="host:port of the embedding service's administrative listener, which is asked for spaces",
    )
    release: str | None = Field(
        None, description="release to serve; if unset, the one that the pointer file <releases>/stable names"
    )
    lookup_timeout_ms: Annotated[int, Field(ge=1, le=10_000)] = Field(
        100,
        description="milliseconds that the embedding service may take for one batch; users whose features come "
        "later are answered as cold ones",
    )
    breaker_failures: Annotated[int, Field(ge=1)] = Field(
        5, description="failed look-ups in a row after which the embedding service is not asked, save for probes"
    )
    breaker_reset_ms: Annotated[int, Field(ge=1)] = Field(500, description="milliseconds between probes")
    feature_cache_users: Annotated[int, Field(ge=1)] = Field(
        10_000, description="users whose features are kept for requests that state max_staleness; about 3 kB each"
    )
    popularity_interval_ms: Annotated[int, Field(ge=10)] = Field(
        1000, description="milliseconds between two fetches of live popularity"
    )
    popularity_max_age_s: Annotated[float, Field(gt=0)] = Field(
        30.0, description="seconds after which popularity that could not be fetched anew is no longer used"
    )
    follow_interval_ms: Annotated[int, Field(ge=10)] = Field(
        1000, description="milliseconds between two checks for labels and products that another process wrote"
    )
    queue_users: Annotated[int, Field(ge=1_024)] = Field(
        8192, description="users that may wait for a place in a batch; more are refused with RESOURCE_EXHAUSTED"
    )
    page_token_key: Path | None = Field(
        None,
        description="file with at least 32 bytes of which page tokens' key is made, the same for all replicas; a "
        "random key per start if unset, so that pages begin anew after a restart",
    )
    embedding_tls: bool = Field(False, description="speak TLS to the embedding service")
    embedding_ca: Path | None = Field(
        None,
        description="PEM file of the authority that signed the embedding service's certificate; the machine's if unset",
    )
    embedding_certificate: Path | None = Field(
        None, description="PEM file of the certificate that this service shows to the embedding service"
    )
    embedding_key: Path | None = Field(None, description="PEM file of that certificate's key")
    embedding_token_file: Path | None = Field(
        None,
        description="file with the token that this service shows to the embedding service, of the role operator",
    )

    def read_page_token_key(self) -> bytes:
        """Read the key of page tokens, or make one up.

        Raises:
            InvalidFile: the file can't be read, or is too short to be a key.
        """
        if self.page_token_key is None:
            return secrets.token_bytes(_KEY_BYTES)
        from twotower.errors import FieldViolation, InvalidFile

        try:
            key = self.page_token_key.read_bytes().strip()
        except OSError as error:
            problem = f"can't be read: {error.strerror}"
            raise InvalidFile(self.page_token_key, [FieldViolation("page_token_key", problem)]) from error
        if len(key) < _KEY_BYTES:
            problem = f"must hold at least {_KEY_BYTES} random bytes, got {len(key)}: openssl rand -hex 32"
            raise InvalidFile(self.page_token_key, [FieldViolation("page_token_key", problem)])
        return key

    @field_validator("embedding", "embedding_admin")
    @classmethod
    def _check_embedding(cls, embedding: str) -> str:
        """Refuse what is no address; a gRPC target with a scheme of its own, such as dns:///name:port, is one."""
        return embedding if "://" in embedding else check_address(embedding)

    @model_validator(mode="after")
    def _check(self) -> "RankingSettings":
        self._both_or_neither("embedding_certificate", "embedding_key")
        if self.state_dir is not None:
            if "://" in self.releases.removeprefix("file://"):
                raise ValueError(
                    "state_dir: is for a folder of releases; with a URL these files are in the object store"
                )
            if not self.state_dir.is_dir():
                raise ValueError(f"state_dir: {self.state_dir}: no such folder")
        for name in ("embedding_ca", "embedding_certificate"):
            if getattr(self, name) is not None and not self.embedding_tls:
                raise ValueError(f"{name}: needs embedding_tls too: without it the service speaks plaintext")
        if self.embedding_token_file and not self.embedding_tls:
            for name in ("embedding", "embedding_admin"):
                if not is_loopback(getattr(self, name)):
                    raise ValueError(f"embedding_token_file: needs embedding_tls too: {name} is another machine")
        if self.two_stage_above and find_spec("faiss") is None:
            raise ValueError("two_stage_above: needs faiss, which `pip install twotower[retrieval]` brings")
        return self
