"""Keys that sign releases, as the PEM files that operators make with openssl."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def write_private(key: Ed25519PrivateKey, path: Path) -> Path:
    """Write a private key."""
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def write_public(key: Ed25519PrivateKey, path: Path) -> Path:
    """Write the public key of a private one."""
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path
