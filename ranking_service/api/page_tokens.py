"""Page tokens: all that the next page depends on, so that any process of the service can answer it.

A token of a ranking carries the user too, and is sealed: nobody else can read or make one
(docs/adr/0014-page-tokens.md). One of the catalogue is a release and a row, which is nobody's secret.
"""

import base64
import binascii
import hashlib
import secrets
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ranking_service.ranking.jobs import Page
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.upstream.user_batch import UserContext
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import MAX_REVIEWS_PER_USER, USER_DIM, Float32
from twotower.v1 import ranking_service_pb2 as pb

MAX_SHOWN: Final = 10_000
"""Products of one ranking up to which there is another page: each token carries all of those before it."""
_VERSION: Final = 3
_SALT_BYTES: Final = 16
_TAG_BYTES: Final = 16
_NONCE: Final = bytes(12)
"""Always the same, because no two tokens are sealed with the same key."""
_HEADER: Final = struct.Struct("<BB8sqII")
_CONTEXT: Final = struct.Struct("<BBIqq?")
_DIGEST_BYTES: Final = 8
_MAX_ID_BYTES: Final = 128
_MAX_BYTES: Final = (
    _SALT_BYTES
    + _TAG_BYTES
    + _HEADER.size
    + _MAX_ID_BYTES
    + 4 * (MAX_REVIEWS_PER_USER + 2 * MAX_SHOWN + USER_DIM)
    + _CONTEXT.size
)
_MAX_CHARACTERS: Final = 4 * -(-_MAX_BYTES // 3)
_MALFORMED: Final = (
    "must be a token from a previous answer of this service, made with its present key: begin at the first page"
)


@dataclass(frozen=True, eq=False)
class Token:
    """The content of a ranking's page token.

    Attributes:
        release_id: the release that ranks.
        request: digest of the first request.
        popularity_version: of the first page.
        row: (449,) float32 user row.
        seen: catalogue rows that the user has reviewed.
        shown: catalogue rows of the pages so far.
        context: what was known of the user.
    """

    release_id: str
    request: bytes
    popularity_version: int
    row: Float32
    seen: list[int]
    shown: list[int]
    context: UserContext

    def page(self, popularity: PopularitySnapshot) -> Page:
        """Return where the ranking goes on."""
        return Page(self.row, self.seen, self.shown, self.context, popularity)


def request_digest(request: pb.RecommendRequest) -> bytes:
    """Digest, in eight bytes, everything that must be the same from page to page."""
    pinned = pb.RecommendRequest()
    pinned.CopyFrom(request)
    for field in ("k", "page_token", "paginate", "max_staleness"):
        pinned.ClearField(field)
    return _digest(pinned.SerializeToString(deterministic=True))


class PageTokens:
    """Makes and reads the tokens of rankings.

    Each is sealed with a key of its own, which comes from the service's key and 16 random bytes in front of the token:
    so no number of tokens wears the service's key out.

    Args:
        key: the same in all processes that answer each other's pages, at least 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(key).digest()

    def encode(self, release_id: str, request: pb.RecommendRequest, page: Page) -> str:
        """Make the token of a ranking's next page."""
        name = release_id.encode()
        seen = page.seen if request.explain or not request.include_seen else []  # else nothing depends on them
        header = _HEADER.pack(
            _VERSION, len(name), request_digest(request), page.popularity.version, len(seen), len(page.shown)
        )
        rows = np.array([*seen, *page.shown], "<i4").tobytes()
        body = header + name + rows + page.row.astype("<f4").tobytes() + _CONTEXT.pack(*page.context)
        salt = secrets.token_bytes(_SALT_BYTES)
        return base64.urlsafe_b64encode(salt + self._cipher(salt).encrypt(_NONCE, body, None)).decode()

    def decode(self, token: str, request: pb.RecommendRequest) -> Token:
        """Read a ranking's token.

        Raises:
            InvalidArgument: it is not one of ours, of another key, or of another request.
        """
        if len(token) > _MAX_CHARACTERS:
            raise _refused(_MALFORMED)
        try:
            data = base64.b64decode(token, altchars=b"-_", validate=True)
            salt, sealed = data[:_SALT_BYTES], data[_SALT_BYTES:]
            decoded = _unpacked(self._cipher(salt).decrypt(_NONCE, sealed, None))
        except (binascii.Error, UnicodeError, ValueError, InvalidTag, struct.error) as error:
            raise _refused(_MALFORMED) from error
        if decoded.request != request_digest(request):
            raise _refused("is of another request: only k may differ from page to page")
        return decoded

    def _cipher(self, salt: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(hashlib.blake2b(salt, key=self._key, digest_size=32, person=b"page token").digest())


def _unpacked(body: bytes) -> Token:
    version, name_size, digest, popularity_version, seen_count, shown_count = _HEADER.unpack_from(body)
    if version != _VERSION:
        raise ValueError(f"version {version}")
    names_end = _HEADER.size + name_size
    rows_end = names_end + 4 * (seen_count + shown_count)
    rows = np.frombuffer(body[names_end:rows_end], "<i4").tolist()
    row_end = rows_end + 4 * USER_DIM
    return Token(
        release_id=body[_HEADER.size : names_end].decode(),
        request=digest,
        popularity_version=popularity_version,
        row=np.frombuffer(body[rows_end:row_end], "<f4", count=USER_DIM),
        seen=rows[:seen_count],
        shown=rows[seen_count:],
        context=UserContext._make(_CONTEXT.unpack(body[row_end:])),
    )


def check_rows(token: Token, product_count: int) -> None:
    """Check that every row of a token is in the catalogue, and that its user row is finite.

    Raises:
        InvalidArgument: otherwise.
    """
    if not all(0 <= row < product_count for row in (*token.seen, *token.shown)) or not np.isfinite(token.row).all():
        raise _refused(_MALFORMED)


def encode_start(release_id: str, start: int) -> str:
    """Make the token of the page of a release's catalogue that begins at row `start`."""
    return base64.urlsafe_b64encode(f"{release_id}:{start}".encode()).decode()


def decode_start(token: str, release_id: str) -> int:
    """Read the first row of the page of the catalogue that a token names; 0 for no token.

    It is not sealed: it says nothing that its caller may not know, and pages go on from any replica.

    Raises:
        InvalidArgument: it is not one of ours, or of another release.
    """
    if not token:
        return 0
    try:
        token_release_id, start = base64.b64decode(token, altchars=b"-_", validate=True).decode().rsplit(":", 1)
        row = int(start)
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise _refused(_MALFORMED) from error
    if token_release_id != release_id:
        raise _refused(f"is of release {token_release_id}, now {release_id} answers: begin at the first page")
    if row < 0:
        raise _refused(_MALFORMED)
    return row


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _refused(description: str) -> InvalidArgument:
    return InvalidArgument([FieldViolation("page_token", description)])
