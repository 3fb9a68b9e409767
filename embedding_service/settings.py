"""Settings of the service: command-line flags, or environment variables with the prefix ``TWOTOWER_EMBEDDING_``."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from embedding_service.redis_store.url import EMBEDDED, check_tls, parse_store_url, with_password_file
from twotower.service import ServerSettings, settings_config


class EmbeddingSettings(ServerSettings):
    """Keeps users' state in Redis and answers feature look-ups over gRPC."""

    model_config = settings_config("embedding_service", "TWOTOWER_EMBEDDING_")

    listen: str = Field(
        "127.0.0.1:50051", description="host:port to listen on for readers and writers; port 0 takes a free one"
    )
    admin_listen: str = Field("127.0.0.1:50061", description="host:port to listen on for operators")
    store: str = Field(
        EMBEDDED,
        repr=False,  # it may hold a password
        description="where users' state is: 'embedded' (a redis-server of its own), "
        "redis://[user:password@]host:port/db, unix://path, "
        "redis+cluster://host:port (a node of a cluster), redis+sentinel://host:port,host:port/name; rediss… for TLS; "
        "user names and passwords percent-encoded",
    )
    redis_password_file: Path | None = Field(
        None, description="file with the password of Redis' user, instead of a password in `store`"
    )
    data_dir: Path = Field(Path("run/embedding"), description="folder of the embedded store; one service at a time")
    suppressions: Path | None = Field(
        None,
        description="file to which deleted users are added, hashed, for `twotower train --suppressions`; "
        "suppressed_users.jsonl in data_dir if unset",
    )
    releases: Path = Field(Path("run/releases"), description="folder of releases")
    appendfsync: Literal["always", "everysec", "no"] = Field(
        "always",
        description="embedded store: an acknowledged review is on disk at once, within about a second, or when the "
        "system likes",
    )
    max_memory_mb: int | None = Field(
        None,
        gt=0,
        description="embedded store: most memory of its data, in MB; when it is full, new reviews are refused and "
        "everything else goes on; unset: three quarters of this machine's or container's",
    )
    redis_timeout_ms: int = Field(
        1000,
        gt=0,
        description="longest wait for a connection to Redis, or for a reply, in milliseconds; a call is then answered "
        "UNAVAILABLE",
    )
    redis_connections: int = Field(16, gt=0, description="most connections to one Redis server")
    redis_wait_replicas: int = Field(
        0,
        ge=0,
        description="replicas that must confirm a write before it is acknowledged (WAIT); with fewer the call is "
        "answered UNAVAILABLE",
    )
    import_idle_s: float = Field(
        30.0, gt=0, description="seconds after which an import whose caller sends nothing is ended"
    )
    stream_idle_s: float = Field(
        300.0,
        gt=0,
        description="seconds after which a look-up stream on which nothing is asked is ended; its caller opens another",
    )
    keep_logs_days: float = Field(
        14.0,
        ge=0,
        description="days that users' reviews in a retired encoder's space are kept before they are dropped",
    )
    keep_als_hours: float = Field(
        24.0,
        ge=0,
        description="hours that ALS vectors in a retired space are kept before they are dropped; they are folded in "
        "again where they are missing",
    )
    user_ttl_days: float | None = Field(
        None, gt=0, description="remove the state of a user whom no review has changed for this many days; unset: never"
    )
    anonymous_per_product_and_day: int = Field(
        20,
        ge=0,
        description="most reviews of one product on one day (UTC) under an anonymous name that live popularity counts; "
        "0: none",
    )
    redis_ca: Path | None = Field(
        None, description="rediss://: PEM file of the authority that signed Redis' certificate"
    )
    redis_certificate: Path | None = Field(None, description="rediss://: PEM file of the service's own certificate")
    redis_key: Path | None = Field(None, description="rediss://: PEM file of the service's own key")
    encoder_threads: int | None = Field(
        None, gt=0, description="inference streams of one thread each; all cores if unset"
    )
    max_queued_texts: int = Field(
        2048, gt=0, description="texts waiting for the encoder beyond which a call is answered RESOURCE_EXHAUSTED"
    )

    @field_validator("releases", mode="before")
    @classmethod
    def _check_releases(cls, releases: object) -> object:
        """Refuse a URL, which would otherwise be taken for a folder named ``s3:``."""
        path = str(releases).removeprefix("file://")
        if "://" in path:
            raise ValueError(
                f"must be a folder on this machine, got {path!r}: the embedding service reads no object store; copy "
                "the releases into a folder, or mount the store as one"
            )
        return path

    @model_validator(mode="after")
    def _check(self) -> "EmbeddingSettings":
        try:
            if self.store != EMBEDDED:
                parse_store_url(self.store)
        except ValueError as error:
            raise ValueError(f"store: {error}") from None
        try:
            with_password_file(self.store, self.redis_password_file)
        except (ValueError, OSError) as error:
            raise ValueError(f"redis_password_file: {error}") from None
        try:
            check_tls(self.store, (self.redis_ca, self.redis_certificate, self.redis_key))
        except ValueError as error:
            raise ValueError(f"redis_ca, redis_certificate, redis_key: {error}") from None
        self._both_or_neither("redis_certificate", "redis_key")
        return self

    @property
    def store_url(self) -> str:
        """The store, with the password of the file if there is one."""
        return with_password_file(self.store, self.redis_password_file)
