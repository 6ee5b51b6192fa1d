"""Certificates for tests: an authority, and servers' certificates of any name and time."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY_S = 86400.0


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, and the file that has both."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    file: Path

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def context(self, *protocols: str) -> ssl.SSLContext:
        """What a server needs that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        if protocols:
            context.set_alpn_protocols(protocols)
        return context


def issue(
    directory: Path,
    *names: str,
    by: Issued | None = None,
    authority: bool = False,
    begins_s: float = -30 * DAY_S,
    ends_s: float = 365 * DAY_S,
) -> Issued:
    """A certificate for some hosts and addresses, signed by an authority or by itself.

    Arguments:
        begins_s, ends_s: from when to when it is valid, in seconds from now.
    """
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nobody")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(seconds=begins_s))
        .not_valid_after(now + timedelta(seconds=ends_s))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if not authority and names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    certificate = builder.sign(key if by is None else by.key, hashes.SHA256())
    file = directory / f"{certificate.serial_number:x}.pem"
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    pem += key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(pem)
    return Issued(certificate, key, file)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
