"""Make what a development set-up needs to be secure: an authority, certificates, keys and tokens. Not for production.

Doing it again keeps the authority and the signing key, and renews everything else.
"""

import argparse
import ipaddress
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

FOLDER: Final = Path("run/certificates")
NAMES: Final = ("localhost", "127.0.0.1", "::1", "embedding", "ranking")
"""Where the services are reached: on this machine, and by their names in compose."""
CALLERS: Final = {"reader": "reader", "writer": "writer", "operator": "operator", "ranking": "operator"}
"""Who gets a token and a client certificate, and its role; ranking prepares spaces in the embedding service."""
AUDIENCE: Final = "twotower"
KID: Final = "development"
_PEM: Final = serialization.Encoding.PEM
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
KeyT = TypeVar("KeyT", ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write (%(default)s)")
    parser.add_argument("--days", type=int, default=30, help="how long certificates and tokens hold (%(default)s)")
    parser.add_argument("--names", nargs="*", default=[], help="more names and addresses of the servers")
    parser.add_argument("--token", nargs=2, metavar=("ROLE", "SUBJECT"), help="only print one more token")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    ends = datetime.now(UTC) + timedelta(days=arguments.days)
    signing_key = _kept_key(arguments.out / "signing-key.pem", ed25519.Ed25519PrivateKey.generate)
    if arguments.token:
        role, subject = arguments.token
        print(_token(signing_key, role, subject, ends))
        return
    write_all(arguments.out, signing_key, [*NAMES, *arguments.names], ends)
    for path in sorted(arguments.out.iterdir()):
        print(path)


def write_all(folder: Path, signing_key: Key, names: list[str], ends: datetime) -> None:
    """Write every file but the signing key."""
    authority = Authority(folder, ends)
    authority.issue("server", names, ends)
    for caller, role in CALLERS.items():
        authority.issue(caller, [f"{caller}.twotower"], ends)
        _write(folder / f"{caller}.token", _token(signing_key, role, caller, ends).encode(), secret=True)
    identities = "".join(f'"{caller}.twotower" = "{role}"\n' for caller, role in CALLERS.items())
    _write(folder / "identities.toml", f"[identities]\n{identities}".encode())
    eddsa: Any = jwt.get_algorithm_by_name("EdDSA")
    public = eddsa.to_jwk(signing_key.public_key(), as_dict=True)
    _write(folder / "keys.json", json.dumps({"keys": [{**public, "kid": KID, "alg": "EdDSA"}]}, indent=2).encode())


class Authority:
    """Signs certificates; its key is kept, so that whoever trusts it need not be told anew.

    Args:
        folder: of all files; ``ca.pem`` is its certificate.
        ends: when a new one ends.
    """

    def __init__(self, folder: Path, ends: datetime) -> None:
        self._folder = folder
        self._key = _kept_key(folder / "ca-key.pem", lambda: ec.generate_private_key(ec.SECP256R1()))
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Twotower development")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key, ends).add_extension(constraints, critical=True)
        _write(folder / "ca.pem", builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def issue(self, name: str, names: list[str], ends: datetime) -> None:
        """Write ``<name>.pem`` and ``<name>-key.pem``, a certificate of these names, which all may serve and call."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key, ends).add_extension(
            x509.SubjectAlternativeName([_general_name(each) for each in names]), critical=False
        )
        _write(self._folder / f"{name}-key.pem", _private(key), secret=True)
        _write(self._folder / f"{name}.pem", builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def _builder(self, subject: x509.Name, key: Key, ends: datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(minutes=5))
            .not_valid_after(ends)
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _token(key: Key, role: str, subject: str, ends: datetime) -> str:
    claims = {"sub": subject, "aud": AUDIENCE, "exp": ends, "iat": datetime.now(UTC), "roles": [role]}
    return jwt.encode(claims, key, "EdDSA", headers={"kid": KID})


def _kept_key(path: Path, generate: Callable[[], KeyT]) -> KeyT:
    if path.exists():
        kept: Any = serialization.load_pem_private_key(path.read_bytes(), None)
        return kept
    key = generate()
    _write(path, _private(key), secret=True)
    return key


def _private(key: Key) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Write aside and rename, so that whoever watches the file never reads half of it."""
    aside = path.with_name(f".{path.name}")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "wb") as file:
        file.write(content)
    aside.replace(path)


if __name__ == "__main__":
    main()
