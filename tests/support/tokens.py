"""Keys and tokens for tests of authentication."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _generate(algorithm: str) -> PrivateKey:
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ed25519.Ed25519PrivateKey.generate()


class Signer:
    """A private key, its public half as JWKS has it, and tokens that it signs.

    Args:
        kid: id of the key.
        algorithm: EdDSA, ES256 or RS256.
    """

    def __init__(self, kid: str = "k1", algorithm: str = "EdDSA") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.key = _generate(algorithm)

    def jwk(self) -> dict[str, Any]:
        """The public key."""
        algorithm: Any = jwt.get_algorithm_by_name(self.algorithm)
        return {**algorithm.to_jwk(self.key.public_key(), as_dict=True), "kid": self.kid}

    def token(self, *roles: str, **claims: Any) -> str:
        """A token for an hour; claims replace or take away (None) those it has."""
        wanted = {"sub": "ann", "aud": "twotower", "exp": time.time() + 3600, "roles": list(roles)} | claims
        present = {name: value for name, value in wanted.items() if value is not None}
        return jwt.encode(present, self.key, self.algorithm, headers={"kid": self.kid})


def write_keys(path: Path, *signers: Signer) -> Path:
    """A JWKS file, written aside and renamed as whoever renews it should."""
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps({"keys": [signer.jwk() for signer in signers]}))
    aside.replace(path)
    return path


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)
