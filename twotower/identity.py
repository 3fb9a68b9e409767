"""Who a caller is: a signed token (JWT) against a file of public keys, or the name in a client certificate.

Needs PyJWT, which the extras of the services bring.
"""

import json
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt
from jwt.exceptions import ExpiredSignatureError, InvalidTokenError, PyJWTError

from twotower.access import Caller, Role
from twotower.errors import FieldViolation, InvalidFile, Unauthenticated
from twotower.reloading import Reloaded

_LEEWAY_S: Final = 10.0
"""How far the clocks of those who sign and of the service may differ."""
_CACHED_TOKENS: Final = 4_096
_LONGEST_TOKEN: Final = 8_192
_LEAST_RSA_BITS: Final = 2_048
_SCHEME: Final = "bearer "
_ROLES: Final = {role.name.lower(): role for role in Role}
_SAN: Final = "x509_subject_alternative_name"


@dataclass(frozen=True)
class _Key:
    """A public key and the one algorithm that it is used with: never one that the token chooses."""

    key: Any
    algorithm: str


@dataclass(frozen=True)
class _KeySet:
    """Keys by id, and the tokens that they have verified."""

    keys: Mapping[str, _Key]
    verified: dict[str, Caller] = field(default_factory=dict)


class Tokens:
    """Verifies tokens against a file of public keys (JWKS); those verified are remembered until the file changes.

    Args:
        keys: the file; algorithms EdDSA (Ed25519), ES256 and RS256.
        audience: what the claim `aud` must be or contain.
        issuer: what `iss` must be; anything if None.
        clock: seconds since 1970.

    Raises:
        InvalidFile: the file is not what it should be.
    """

    def __init__(
        self, keys: Path, audience: str, issuer: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._key_set: Reloaded[_KeySet] = Reloaded([keys], lambda: _KeySet(_read_keys(keys)))
        self._audience = audience
        self._issuer = issuer
        self._clock = clock

    def caller(self, token: str) -> Caller:
        """Who signed in with a token.

        Raises:
            Unauthenticated: it is not valid, or not any more; says why.
        """
        key_set = self._key_set()
        caller = key_set.verified.get(token)
        if caller is None:
            caller = self._verify(key_set.keys, token)
            if len(key_set.verified) >= _CACHED_TOKENS:
                key_set.verified.clear()
            key_set.verified[token] = caller
        if caller.expires_at + _LEEWAY_S <= self._clock():
            key_set.verified.pop(token, None)
            raise Unauthenticated("the token has expired")
        return caller

    def _verify(self, keys: Mapping[str, _Key], token: str) -> Caller:
        if len(token) > _LONGEST_TOKEN:
            raise Unauthenticated(f"the token is longer than {_LONGEST_TOKEN} characters")
        try:
            key = keys.get(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                raise Unauthenticated("the token was not signed with a known key: its kid is not in auth_keys")
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "sub", "aud"]},
            )
            return Caller(str(claims["sub"]), _highest(claims.get("roles", ())), float(claims["exp"]))
        except ExpiredSignatureError:
            raise Unauthenticated("the token has expired") from None
        except (InvalidTokenError, PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise Unauthenticated(f"the token is not valid: {error}") from None


class Certificates:
    """Knows callers by the names in their certificates (SAN), which TLS has verified.

    Args:
        identities: TOML file with a table ``[identities]`` of name → role.

    Raises:
        InvalidFile: the file is not what it should be.
    """

    def __init__(self, identities: Path) -> None:
        self._roles: Reloaded[Mapping[str, Role]] = Reloaded([identities], lambda: _read_identities(identities))

    def caller(self, names: Iterable[bytes]) -> Caller | None:
        """Who has a certificate of these names: that of the highest role; None if none is known."""
        roles = self._roles()
        known = [(roles[name], name) for name in (raw.decode("utf-8", "replace") for raw in names) if name in roles]
        if not known:
            return None
        role, name = max(known)
        return Caller(name, role)


class Identities:
    """Says who calls; :class:`twotower.access.Gate` asks it.

    Args:
        tokens: None if there are no tokens.
        certificates: None if certificates say nothing of their owners.
    """

    def __init__(self, tokens: Tokens | None, certificates: Certificates | None) -> None:
        self._tokens = tokens
        self._certificates = certificates

    def caller(
        self, metadata: Iterable[tuple[str, Any]], auth_context: Callable[[], Mapping[str, Iterable[bytes]]]
    ) -> Caller:
        """Who makes a call with this metadata over a connection with this context.

        Raises:
            Unauthenticated: nobody that is known.
        """
        if self._tokens:
            for key, value in metadata:
                if key == "authorization":
                    if isinstance(value, str) and value[: len(_SCHEME)].lower() == _SCHEME:
                        return self._tokens.caller(value[len(_SCHEME) :])
                    raise Unauthenticated("the metadata authorization must be: Bearer <token>")
        if self._certificates:
            caller = self._certificates.caller(auth_context().get(_SAN, ()))
            if caller:
                return caller
            asked = "no token was sent, and " if self._tokens else ""
            raise Unauthenticated(f"{asked}no name of the client's certificate is in auth_identities")
        raise Unauthenticated("no token was sent: the metadata authorization must be: Bearer <token>")


def _highest(roles: object) -> Role | None:
    names = [roles] if isinstance(roles, str) else roles if isinstance(roles, list) else []
    return max((_ROLES[name] for name in names if isinstance(name, str) and name in _ROLES), default=None)


def _read_keys(path: Path) -> dict[str, _Key]:
    """Read a JWKS file.

    Raises:
        InvalidFile: it is not what it should be; names the key.
    """
    try:
        entries = json.loads(path.read_bytes())["keys"]
    except OSError as error:
        raise InvalidFile(path, [FieldViolation("auth_keys", f"can't be read: {error.strerror}")]) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidFile(path, [FieldViolation("auth_keys", 'must be a JWKS file: {"keys": […]}')]) from error
    keys: dict[str, _Key] = {}
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if not isinstance(kid, str) or not kid or kid in keys:
            raise _bad_key(path, number, "must have a kid, a text that no other key has")
        keys[kid] = _read_key(path, number, entry)
    if not keys:
        raise InvalidFile(path, [FieldViolation("auth_keys", "must hold at least one key")])
    return keys


def _read_key(path: Path, number: int, entry: Mapping[str, Any]) -> _Key:
    algorithm = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256", ("RSA", None): "RS256"}.get(
        (str(entry.get("kty")), entry.get("crv"))
    )
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        raise _bad_key(path, number, "must be of Ed25519 (EdDSA), P-256 (ES256) or RSA (RS256)")
    if "d" in entry:
        raise _bad_key(path, number, "is a private key: the file must hold public keys only")
    try:
        key = jwt.PyJWK(dict(entry), algorithm=algorithm).key
    except (PyJWTError, ValueError, TypeError, KeyError) as error:
        raise _bad_key(path, number, f"can't be read: {error}") from error
    if algorithm == "RS256" and key.key_size < _LEAST_RSA_BITS:
        raise _bad_key(path, number, f"must have at least {_LEAST_RSA_BITS} bits")
    return _Key(key, algorithm)


def _bad_key(path: Path, number: int, rule: str) -> InvalidFile:
    return InvalidFile(path, [FieldViolation(f"auth_keys: keys[{number}]", rule)])


def _read_identities(path: Path) -> dict[str, Role]:
    """Read a file of identities.

    Raises:
        InvalidFile: it is not what it should be; names the identity.
    """
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8"))["identities"]
    except OSError as error:
        raise InvalidFile(path, [FieldViolation("auth_identities", f"can't be read: {error.strerror}")]) from error
    except (ValueError, KeyError) as error:
        rule = f"must be a TOML file with a table [identities]: {error}"
        raise InvalidFile(path, [FieldViolation("auth_identities", rule)]) from error
    for name, role in listed.items() if isinstance(listed, dict) else [("identities", listed)]:
        if not isinstance(role, str) or role not in _ROLES:
            rule = f"must be one of {', '.join(_ROLES)}, got {role!r}"
            raise InvalidFile(path, [FieldViolation(f"auth_identities: {name}", rule)])
    return {name: _ROLES[role] for name, role in listed.items()}
