"""Whom probes trust in TLS, and what is wrong with a certificate that they do not trust, for people.

Rules that hold here:
* Verification is OpenSSL's; what is said of a certificate afterwards decides nothing.
* Authorities are read once for all probes that need the same, and again when their file is another one. One that
  cannot be read any more changes nothing but for a warning: a file that is lost must not empty a pool.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from ha_lvs.model import TlsCheck
from ha_lvs.wire.certificate import Certificate

NOT_YET_VALID = 9
EXPIRED = 10
OTHER_NAME = 62
OTHER_ADDRESS = 64
EXPLAINED = (NOT_YET_VALID, EXPIRED, OTHER_NAME, OTHER_ADDRESS)
"""openssl/x509_vfy.h, X509_V_ERR_*: what a closer look at the certificate can tell more of."""

_DAY_S, _HOUR_S = 86400, 3600
_SHOWN_NAMES = 3
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")


class NoAuthorities(Exception):
    """The file with the authorities to trust is of no use; the text says why, for people."""


class Trust:
    """What TLS connections have in common that judge servers alike. Shared by probes.

    Arguments:
        verify, ca: as in `TlsCheck`.
        protocol: to be agreed upon (ALPN, RFC 7301); empty for none.

    Attributes:
        problem: why authorities that were read before are still used; empty while they are as in the file.
    """

    def __init__(self, verify: bool, ca: str, protocol: str = "") -> None:
        self._verify, self._ca, self._protocol = verify, ca if verify else "", protocol
        self._context: ssl.SSLContext | None = None
        self._version: tuple[int, ...] = ()
        self.problem = ""

    @staticmethod
    def key(check: TlsCheck, protocol: str) -> object:
        """By what `Driver.shared` knows it."""
        return Trust, check.verify, check.ca if check.verify else "", protocol

    def context(self) -> ssl.SSLContext:
        """The settings. Errors: NoAuthorities when there are none to trust."""
        try:
            version = self._look()
            if self._context is None or version != self._version:
                self._context = self._make()
                self._version = version
            self.problem = ""
        except OSError as problem:  # ssl.SSLError is one, too
            reason = (
                "it holds no certificates" if isinstance(problem, ssl.SSLError) else os.strerror(problem.errno or 0)
            )
            self.problem = f"cannot read the authorities in {self._ca}: {reason.lower()}"
            if self._context is None:
                raise NoAuthorities(self.problem) from None
        return self._context

    def _look(self) -> tuple[int, ...]:
        """What tells the file from another one of that name."""
        if not self._ca:
            return ()
        found = Path(self._ca).stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.options |= ssl.OP_NO_RENEGOTIATION
        if self._protocol:
            context.set_alpn_protocols([self._protocol])
        if not self._verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self._ca:
            context.load_verify_locations(self._ca)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context

    def close(self) -> None:
        """Nothing to close."""


# ------------------------------------------------------------------------------------------------ for people


def distrust(code: int, message: str, name: str) -> str:
    """Why a certificate was not accepted.

    Arguments:
        code, message: OpenSSL's.
        name: whose certificate it should be.
    """
    plain = {EXPIRED: "certificate has expired", NOT_YET_VALID: "certificate is not valid yet"}
    if code in plain:
        return plain[code]
    if code in (OTHER_NAME, OTHER_ADDRESS):
        return f"certificate is not for {name}"
    return f"certificate is not trusted: {message}"


def explain(code: int, certificate: Certificate, name: str, now: float) -> str:
    """The same with what stands in the certificate; empty where that does not tell.

    Arguments:
        certificate: that was not accepted.
        now: Unix seconds.
    """
    if code == EXPIRED:
        if certificate.ends < now:
            return f"certificate expired {lasting(now - certificate.ends)} ago"
        return "the certificate of an authority has expired"
    if code == NOT_YET_VALID:
        if certificate.begins > now:
            return f"certificate becomes valid in {lasting(certificate.begins - now)}"
        return "the certificate of an authority is not valid yet"
    if code in (OTHER_NAME, OTHER_ADDRESS):
        return f"certificate is for {_listed(certificate.names) or 'no host by name'}, not {name}"
    return ""


def expiry(certificate: Certificate, now: float, warn_s: float) -> str:
    """The warning that a certificate expires soon, or has; empty where there are more than `warn_s` seconds left."""
    left_s = certificate.ends - now
    if left_s >= warn_s:
        return ""
    return f"certificate expires in {lasting(left_s)}" if left_s > 0 else f"certificate expired {lasting(-left_s)} ago"


def failure(problem: ssl.SSLError) -> str:
    """Why TLS failed, apart from the certificate."""
    reason = problem.reason or ""
    if isinstance(problem, ssl.SSLEOFError) or reason == "UNEXPECTED_EOF_WHILE_READING":
        return "connection closed in the TLS handshake"
    if reason in _NO_TLS:
        return "server does not speak TLS"
    return f"TLS failed: {reason.lower().replace('_', ' ') or 'error'}"


def lasting(seconds: float) -> str:
    """A time in whole days, or hours."""
    for unit_s, unit in ((_DAY_S, "day"), (_HOUR_S, "hour")):
        count = int(seconds // unit_s)
        if count:
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return "less than an hour"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"
