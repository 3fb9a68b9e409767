"""Who demands a signature gets releases of its key's owner, unchanged, and nothing else."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.releases import write_random_release
from tests.support.signing import write_public
from twotower.errors import InvalidArgument, ReleaseInvalid
from twotower.release import MANIFEST, SIGNATURE, Release, is_served
from twotower.release_signature import read_signing_key


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def test_a_signed_release_opens_with_its_key_and_without_one(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    release = write_random_release(tmp_path / "releases", signing_key=key)
    pem = write_public(key, tmp_path / "public.pem")
    for needed in (is_served, lambda _: True):
        assert Release.open(release.path, public_key=pem, needed=needed).release_id == release.release_id
    assert Release.open(release.path).release_id == release.release_id
    assert len((release.path / SIGNATURE).read_bytes()) == 64


def test_openssl_agrees(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    release = write_random_release(tmp_path / "releases", signing_key=key)
    pem = write_public(key, tmp_path / "public.pem")
    files = ["-sigfile", str(release.path / SIGNATURE), "-in", str(release.path / MANIFEST)]
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(pem), "-rawin", *files]
    assert b"Verified Successfully" in subprocess.run(command, capture_output=True, check=True).stdout


def test_another_key_a_changed_manifest_and_no_signature_are_refused(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    release = write_random_release(tmp_path / "releases", signing_key=Ed25519PrivateKey.generate())
    pem = write_public(key, tmp_path / "public.pem")
    with pytest.raises(ReleaseInvalid, match=r"manifest.sig: manifest.json was signed by another key"):
        Release.open(release.path, public_key=pem)
    (release.path / SIGNATURE).write_bytes(key.sign((release.path / MANIFEST).read_bytes()))
    assert Release.open(release.path, public_key=pem)
    raw = json.loads((release.path / MANIFEST).read_text())
    (release.path / MANIFEST).write_text(json.dumps(raw | {"created_at": "2030-01-01T00:00:00+00:00"}))
    with pytest.raises(ReleaseInvalid, match="changed since"):
        Release.open(release.path, public_key=pem)
    for damage in (b"", b"x" * 64, b"x" * 10_000):
        (release.path / SIGNATURE).write_bytes(damage)
        with pytest.raises(ReleaseInvalid, match=r"manifest.sig"):
            Release.open(release.path, public_key=pem)
    (release.path / SIGNATURE).unlink()
    with pytest.raises(ReleaseInvalid, match=r"manifest.sig: is missing"):
        Release.open(release.path, public_key=pem)


def test_writing_again_signs_what_was_not_signed(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    pem = write_public(key, tmp_path / "public.pem")
    first = write_random_release(tmp_path / "releases")
    second = write_random_release(tmp_path / "releases", signing_key=key)
    assert second.release_id == first.release_id
    assert Release.open(second.path, public_key=pem)


def test_keys_of_another_kind_are_refused_by_name(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    release = write_random_release(tmp_path / "releases", signing_key=key)
    other = tmp_path / "other.pem"
    other.write_bytes(
        generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(InvalidArgument, match=r"--signing-key: must be a PEM file with an Ed25519 key, .*other.pem"):
        read_signing_key(other)
    with pytest.raises(InvalidArgument, match=r"release_public_key: must be a PEM file .*absent.pem"):
        Release.open(release.path, public_key=tmp_path / "absent.pem")
    with pytest.raises(InvalidArgument, match="release_public_key: must be a PEM file"):
        Release.open(release.path, public_key=other)
