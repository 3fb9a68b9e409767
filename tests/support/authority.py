"""A certificate authority for tests, and the certificates that it signs."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from twotower.rpc import ChannelTls


class Authority:
    """Signs certificates into a folder.

    Args:
        folder: where its own certificate and all others are written.
        name: of its files.
    """

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._builder(self._name, self._key.public_key(), 3600).add_extension(constraints, critical=True)
        signed = certificate.sign(self._key, hashes.SHA256())
        self.path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *names: str, valid_s: float = 3600, file: str | None = None) -> ChannelTls:
        """Sign a certificate for 127.0.0.1 and `names`; a negative `valid_s` is one that has expired.

        Returns:
            The authority's certificate, the new one and its key; written aside and renamed.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        all_names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *map(_general_name, names)]
        certificate = self._builder(subject, key.public_key(), valid_s).add_extension(
            x509.SubjectAlternativeName(all_names), critical=False
        )
        signed = certificate.sign(self._key, hashes.SHA256())
        pem, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted)
        paths = []
        for kind, content in (("certificate", signed.public_bytes(pem)), ("key", private)):
            path = self._folder / f"{file or name}-{kind}.pem"
            aside = path.with_suffix(".new")
            aside.write_bytes(content)
            aside.replace(path)
            paths.append(path)
        return ChannelTls(self.path, *paths)

    def _builder(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, valid_s: float
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(seconds=valid_s))
        )


def _general_name(name: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name)
