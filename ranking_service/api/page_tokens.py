"""Page tokens of a ranking: all that the next page depends on, so that any process of the service can answer it."""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from ranking_service.ranking.jobs import Page
from ranking_service.release.popularity_snapshot import Snapshot
from ranking_service.upstream.user_batch import Known
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import USER_DIM, Float32
from twotower.v1 import ranking_service_pb2 as pb

_VERSION: Final = 2
_HEADER: Final = struct.Struct("<BB8sqII")
_KNOWN: Final = struct.Struct("<BBIqq?")
_CHECK_BYTES: Final = 8
_MALFORMED: Final = "must be a token from a previous answer"


@dataclass(frozen=True, eq=False)
class Token:
    """A page token's content.

    Attributes:
        release_id: the release that the ranking is of.
        request: digest of the first request.
        popularity_version: of the first page.
        row: (449,) float32 user row.
        seen: catalogue rows that the user has reviewed.
        shown: catalogue rows of the pages so far.
        known: what was known of the user.
    """

    release_id: str
    request: bytes
    popularity_version: int
    row: Float32
    seen: list[int]
    shown: list[int]
    known: Known

    def page(self, popularity: Snapshot) -> Page:
        """Where the ranking goes on."""
        return Page(self.row, self.seen, self.shown, self.known, popularity)


def request_digest(request: pb.RecommendRequest) -> bytes:
    """Eight bytes of everything that must be the same from page to page."""
    same = pb.RecommendRequest()
    same.CopyFrom(request)
    for field in ("k", "page_token", "paginate", "max_staleness"):
        same.ClearField(field)
    return _digest(same.SerializeToString(deterministic=True))


def encode(release_id: str, request: pb.RecommendRequest, page: Page) -> str:
    """The token of a page."""
    name = release_id.encode()
    header = _HEADER.pack(
        _VERSION, len(name), request_digest(request), page.popularity.version, len(page.seen), len(page.shown)
    )
    rows = np.array([*page.seen, *page.shown], "<i4").tobytes()
    body = header + name + rows + page.row.astype("<f4").tobytes() + _KNOWN.pack(*page.known)
    return base64.urlsafe_b64encode(_digest(body) + body).decode()


def decode(token: str, request: pb.RecommendRequest) -> Token:
    """What a token says.

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
        found = Token(
            release_id=body[_HEADER.size : names_end].decode(),
            request=digest,
            popularity_version=popularity_version,
            row=np.frombuffer(body[rows_end:row_end], "<f4", count=USER_DIM),
            seen=rows[:seen_count],
            shown=rows[seen_count:],
            known=Known._make(_KNOWN.unpack(body[row_end:])),
        )
    except (binascii.Error, UnicodeError, ValueError, struct.error) as error:
        raise _refused(_MALFORMED) from error
    if found.request != request_digest(request):
        raise _refused("is of another request: only k may differ from page to page")
    return found


def require_rows(token: Token, product_count: int) -> None:
    """Every row is one of the catalogue's.

    Raises:
        InvalidArgument: one is not.
    """
    if not all(0 <= row < product_count for row in (*token.seen, *token.shown)) or not np.isfinite(token.row).all():
        raise _refused(_MALFORMED)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECK_BYTES).digest()


def _refused(description: str) -> InvalidArgument:
    return InvalidArgument([FieldViolation("page_token", description)])
