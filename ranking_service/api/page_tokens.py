"""Page tokens: all that the next page depends on, so that any process of the service can answer it.

A token of a ranking carries the user too (docs/adr/0014-page-tokens.md); one of the catalogue is a release and a row.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from ranking_service.ranking.jobs import Page
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.upstream.user_batch import UserContext
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import USER_DIM, Float32
from twotower.v1 import ranking_service_pb2 as pb

_VERSION: Final = 2
_HEADER: Final = struct.Struct("<BB8sqII")
_CONTEXT: Final = struct.Struct("<BBIqq?")
_CHECK_BYTES: Final = 8
_MALFORMED: Final = "must be a token from a previous answer"


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


def encode(release_id: str, request: pb.RecommendRequest, page: Page) -> str:
    """Make the token of a ranking's next page."""
    name = release_id.encode()
    header = _HEADER.pack(
        _VERSION, len(name), request_digest(request), page.popularity.version, len(page.seen), len(page.shown)
    )
    rows = np.array([*page.seen, *page.shown], "<i4").tobytes()
    body = header + name + rows + page.row.astype("<f4").tobytes() + _CONTEXT.pack(*page.context)
    return base64.urlsafe_b64encode(_digest(body) + body).decode()


def decode(token: str, request: pb.RecommendRequest) -> Token:
    """Read a ranking's token.

    Raises:
        InvalidArgument: it is not one of ours, or of another request.
    """
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
        check, body = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
        version, name_size, digest, popularity_version, seen_count, shown_count = _HEADER.unpack_from(body)
        if check != _digest(body) or version != _VERSION:
            raise _refused(_MALFORMED)
        names_end = _HEADER.size + name_size
        rows_end = names_end + 4 * (seen_count + shown_count)
        rows = np.frombuffer(body[names_end:rows_end], "<i4").tolist()
        row_end = rows_end + 4 * USER_DIM
        decoded = Token(
            release_id=body[_HEADER.size : names_end].decode(),
            request=digest,
            popularity_version=popularity_version,
            row=np.frombuffer(body[rows_end:row_end], "<f4", count=USER_DIM),
            seen=rows[:seen_count],
            shown=rows[seen_count:],
            context=UserContext._make(_CONTEXT.unpack(body[row_end:])),
        )
    except (binascii.Error, UnicodeError, ValueError, struct.error) as error:
        raise _refused(_MALFORMED) from error
    if decoded.request != request_digest(request):
        raise _refused("is of another request: only k may differ from page to page")
    return decoded


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
        raise _refused(f"is of release {token_release_id}, now {release_id} answers: begin again")
    if row < 0:
        raise _refused(_MALFORMED)
    return row


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECK_BYTES).digest()


def _refused(description: str) -> InvalidArgument:
    return InvalidArgument([FieldViolation("page_token", description)])
