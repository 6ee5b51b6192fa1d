"""Probes that talk in TLS.

Rules that hold here:
* TLS works on memory; the socket is `StreamProbe`'s. The dialogue hears what is inside and knows nothing of TLS.
* OpenSSL lets nobody see a certificate that it has not accepted. So where the reason is one that the certificate can
  tell more of (it has expired, it is for somebody else), a second connection fetches it without judging. Nothing but
  the words of the reason depends on that one, and it has the rest of the time-out.
* A connection that ends without TLS's own ending counts as ended: many servers do so, and what was said before is
  authentic. The framing of the dialogue tells what is missing.
"""

from __future__ import annotations

import ssl
import time

from ha_lvs.errors import WireError
from ha_lvs.health.probes import trust
from ha_lvs.health.probes.base import Driver
from ha_lvs.health.probes.stream import OpenDialogue, StreamProbe
from ha_lvs.health.probes.trust import NoAuthorities, Trust
from ha_lvs.health.speech.dialogue import Outcome
from ha_lvs.model import Endpoint, TlsCheck
from ha_lvs.wire import certificate
from ha_lvs.wire.certificate import Certificate

_READ = 16384
_ANYBODY = TlsCheck(verify=False)


class TlsProbe(StreamProbe):
    """A connection in TLS over which a dialogue goes on until it has an outcome.

    Arguments:
        endpoint, engine, open_dialogue: as in `StreamProbe`.
        name: of the server, where the check does not say; empty for its address.
        protocol: to be agreed upon (ALPN); empty for none.
        needed: whether a server that does not agree upon it has failed.
    """

    __slots__ = (
        "_check", "_code", "_der", "_first", "_incoming", "_known", "_name", "_needed", "_outgoing", "_protocol",
        "_shaken", "_tls", "_trust",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: Endpoint,
        engine: Driver,
        open_dialogue: OpenDialogue,
        name: str = "",
        protocol: str = "",
        needed: bool = False,
    ) -> None:
        super().__init__(endpoint, engine, open_dialogue)
        self._check = endpoint.check.tls or TlsCheck()
        self._name = self._check.name or name or str(endpoint.address)
        self._protocol, self._needed = protocol, needed
        self._trust = self._shared(self._check)
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._shaken = False
        self._code = 0  # why the certificate was not accepted
        self._first: Outcome | None = None  # of the first connection, while there is a second
        self._der: bytes | None = b""  # the certificate that was decoded last, and what came of it
        self._known: Certificate | None = None

    def _shared(self, check: TlsCheck) -> Trust:
        protocol = self._protocol
        return self.engine.shared(Trust.key(check, protocol), lambda: Trust(check.verify, check.ca, protocol))

    def start(self, now: float) -> None:
        """See `Probe`."""
        self.warning = ""
        self._code, self._first = 0, None
        try:
            context = self._trust.context()
        except NoAuthorities as problem:
            self.engine.end(self, False, str(problem), now)
            return
        self.warning = self._trust.problem
        self._connect(context, now)

    def _connect(self, context: ssl.SSLContext, now: float) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._shaken = False
        try:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=self._name)
        except ValueError:
            self.engine.end(self, False, f"{self._name} cannot be a server's name in TLS", now)
            return
        super().start(now)
        self.unsent = b""
        self._go_on()  # which only puts the first message of the handshake into `unsent`

    def take_in(self, part: bytes) -> Outcome | None:
        """See `StreamProbe`."""
        self._incoming.write(part)
        return self._go_on()

    def take_end(self) -> Outcome:
        """See `StreamProbe`."""
        if not self._shaken:
            return Outcome(False, "connection closed in the TLS handshake")
        return super().take_end()

    def _go_on(self) -> Outcome | None:
        """Makes what it is of the bytes that came; returns the outcome if there is one."""
        tls, dialogue = self._tls, self.dialogue
        assert tls is not None
        assert dialogue is not None
        try:
            if not self._shaken:
                outcome = self._shake_hands(tls)
                if outcome is not None:
                    return outcome
                if dialogue.opening:
                    tls.write(dialogue.opening)
            while True:
                said = tls.read(_READ)
                outcome = super().take_in(said) if said else super().take_end()
                if outcome is not None:
                    return outcome
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return super().take_end()
        except ssl.SSLCertVerificationError as problem:
            self._code = problem.verify_code
            return Outcome(False, trust.distrust(problem.verify_code, problem.verify_message, self._name))
        except ssl.SSLError as problem:
            return Outcome(False, trust.failure(problem))
        finally:
            self.unsent += self._outgoing.read()

    def say(self, words: bytes) -> None:
        """See `StreamProbe`."""
        assert self._tls is not None
        self._tls.write(words)  # into memory, as much as it is

    # ------------------------------------------------------------------------------------- the certificate

    def _shake_hands(self, tls: ssl.SSLObject) -> Outcome | None:
        """Goes on with the handshake, and looks at the certificate behind it. Errors: ssl.SSLError."""
        tls.do_handshake()
        self._shaken = True
        if self._first is not None:
            seen = self._certificate(tls)
            words = trust.explain(self._code, seen, self._name, time.time()) if seen is not None else ""
            return Outcome(False, words or self._first.reason)
        if self._needed and tls.selected_alpn_protocol() != self._protocol:
            return Outcome(False, f"server does not agree to speak {self._protocol} in TLS (ALPN)")
        if self._check.warn_s:
            seen = self._certificate(tls)
            if seen is not None:
                self.warning = trust.expiry(seen, time.time(), self._check.warn_s) or self.warning
        return None

    def _certificate(self, tls: ssl.SSLObject) -> Certificate | None:
        """What stands in the server's certificate, which is the same for many probes; None where it is not legible."""
        der = tls.getpeercert(True)
        if der != self._der:
            self._der = der
            try:
                self._known = certificate.decode(der or b"")
            except WireError:
                self._known = None
        return self._known

    def settle(self, outcome: Outcome, now: float) -> None:
        """See `StreamProbe`."""
        if self._first is None and self._code in trust.EXPLAINED and self._shared(_ANYBODY) is not self._trust:
            self.close()
            self._first = outcome
            try:
                self._connect(self._shared(_ANYBODY).context(), now)
                return
            except OSError:
                pass
        elif self._first is not None and not self._shaken:
            outcome = self._first  # the second connection came to nothing
        super().settle(outcome, now)

    def close(self) -> None:
        """See `Probe`."""
        super().close()
        self._tls = None

    def overdue(self) -> str:
        """See `Probe`."""
        if self._first is not None:
            return self._first.reason
        if self.connected and not self._shaken:
            return "timed out in the TLS handshake"
        return super().overdue()
