"""The token by which a client says who it is, in a file that may be renewed at any time."""

import re
from pathlib import Path
from typing import Final

from twotower.errors import FieldViolation, InvalidFile
from twotower.reloading import Reloaded

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_MAX_BYTES: Final = 7 * 1024
"""A little less than gRPC's bound of a call's metadata, which is 8 KiB."""

Metadata = tuple[tuple[str, str], ...]


class TokenFile:
    """A bearer token (a JWT) in a file, which is read again when it has changed.

    A file that can't be read any more, or that holds no token while it is being written, leaves the token that was read
    before, and a line in the log.

    Args:
        path: the file: the token and nothing else.

    Raises:
        InvalidFile: it can't be read, or does not hold a token.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = Reloaded([path], self._read)
        """What a call is sent with; to be called for each."""

    def _read(self) -> Metadata:
        try:
            token = self.path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise InvalidFile(self.path, [_violation(f"can't be read: {error.strerror}")]) from error
        except UnicodeDecodeError:
            token = ""
        if not _TOKEN.fullmatch(token):
            raise InvalidFile(self.path, [_violation("must hold one token, such as a JWT, and nothing else")])
        if len(token) > _MAX_BYTES:
            raise InvalidFile(self.path, [_violation(f"must be at most {_MAX_BYTES} bytes, got {len(token)}")])
        return (("authorization", f"Bearer {token}"),)

    def __repr__(self) -> str:
        return f"TokenFile({str(self.path)!r})"


def _violation(description: str) -> FieldViolation:
    return FieldViolation("token_file", description)
