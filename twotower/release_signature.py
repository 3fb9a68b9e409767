"""The signature over a release's manifest: Ed25519, 64 bytes in ``manifest.sig``; the manifest covers all other files.

Needs the package ``cryptography`` where something is signed or a signature is demanded.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from twotower.errors import FieldViolation, InvalidArgument, ReleaseInvalid
from twotower.release_manifest import MANIFEST, SIGNATURE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_SIGNATURE_BYTES: Final = 64


def check_signature(release: Path, manifest: bytes, public_key: Path) -> None:
    """Check that a key has signed a manifest.

    Args:
        release: the release's folder.
        manifest: the bytes of its manifest.
        public_key: PEM file.

    Raises:
        ReleaseInvalid: it is not signed, or by another key, or was changed since.
        InvalidArgument: the key can't be read.
    """
    verify_signature(release, manifest, read_public_key(public_key))


def verify_signature(release: Path, manifest: bytes, key: "Ed25519PublicKey") -> None:
    """As :func:`check_signature`, with a key that was read."""
    from cryptography.exceptions import InvalidSignature

    try:
        with (release / SIGNATURE).open("rb") as file:
            signature = file.read(_SIGNATURE_BYTES + 1)
    except OSError as error:
        raise ReleaseInvalid(f"{SIGNATURE}: is missing, and only signed releases are accepted") from error
    try:
        key.verify(signature, manifest)
    except InvalidSignature as error:
        raise ReleaseInvalid(
            f"{SIGNATURE}: {MANIFEST} was signed by another key than release_public_key, or changed since"
        ) from error


def read_public_key(path: Path) -> "Ed25519PublicKey":
    """Read a PEM file with an Ed25519 public key.

    Raises:
        InvalidArgument: naming the file and what is wrong with it.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise _unusable("release_public_key", path, error) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _unusable("release_public_key", path, f"is a {type(key).__name__}")
    return key


def read_signing_key(path: Path) -> "Ed25519PrivateKey":
    """Read a PEM file with an Ed25519 private key, without a passphrase.

    Raises:
        InvalidArgument: naming the file and what is wrong with it.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _unusable("--signing-key", path, error) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable("--signing-key", path, f"is a {type(key).__name__}")
    return key


def _unusable(field: str, path: Path, why: object) -> InvalidArgument:
    return InvalidArgument([FieldViolation(field, f"must be a PEM file with an Ed25519 key, {path}: {why}")])
