"""A DNS query, and what an answer to it means.

Rules that hold here:
* Pure, bytes to values. dnspython does the coding; it takes its time to be imported, so whoever imports this does so
  only when there is a DNS check.
* An answer counts only with the query's identity and question. What has another is somebody else's and is passed over;
  an error without any question is an answer, as some servers give it.
* Values are compared as records, not as text: case of names, leading zeros and ways to write an IPv6 address make no
  difference. The strings of a TXT record count as one text, with or without quotes.
* Of an answer only the question and the records of the type that was asked for are decoded: dnspython loads and keeps
  something for each type that it meets, and servers must not choose those.
* The query has no EDNS: every server understands it, and an answer that fits into 512 bytes is enough to be alive.

Source: RFC 1035 section 4.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.ANY.TXT import TXT

from ha_lvs.health.speech.dialogue import Outcome
from ha_lvs.model import DnsCheck

_HEADER = struct.Struct("!HHHHHH")  # identity, flags, number of questions, answers, authorities, additional records
_QUESTION = struct.Struct("!HH")  # type, class
_RECORD = struct.Struct("!HHIH")  # type, class, time to live, length of the data
_RESPONSE, _OPCODE, _TRUNCATED, _RCODE = 0x8000, 0x7800, 0x0200, 0x000F
_SHOWN = 80  # characters of a value


class DnsQuestion:
    """One question, asked again and again, and the judge of its answers.

    Arguments:
        check: what is asked, and what must come.
    """

    __slots__ = ("_expected", "_name", "_problem", "_query", "_type")

    def __init__(self, check: DnsCheck) -> None:
        self._name = dns.name.from_text(check.name)
        self._type = dns.rdatatype.from_text(check.type)
        self._query = dns.message.make_query(self._name, self._type, use_edns=False, id=0).to_wire()
        self._expected: list[tuple[str, object]] = []
        self._problem = ""
        for text in check.expect:
            try:
                self._expected.append((text, _comparable(_record(self._type, text))))
            except Exception:  # whatever dnspython has against it: the operator hears of it by the verdict
                self._problem = f"{text[:_SHOWN]!r}, which is expected, is no {check.type} record; correct the check"

    def query(self, identity: int) -> bytes:
        """The query.

        Arguments:
            identity: its transaction id, from 0 to 65535.
        """
        return identity.to_bytes(2, "big") + self._query[2:]

    def judge(self, answer: bytes, identity: int) -> Outcome | None:
        """What an answer means; None when it is none to this query.

        Arguments:
            answer: a datagram's payload.
            identity: of the query.

        Raises nothing, whatever the bytes are.
        """
        if self._problem:
            return Outcome(False, self._problem)
        if len(answer) < _HEADER.size:
            return None
        number, flags, questions, answers, _, _ = _HEADER.unpack_from(answer)
        if number != identity or not flags & _RESPONSE or flags & _OPCODE:
            return None
        try:
            end = self._end_of_question(answer, questions, flags & _RCODE)
            if end is None:
                return None
            if flags & _RCODE:
                word = dns.rcode.to_text(dns.rcode.from_flags(flags, 0))
                return Outcome(False, f"rcode {word}" if word.isdigit() else word)
            records = self._records(answer, end, answers, bool(flags & _TRUNCATED))
        except Exception as problem:  # a decoder of foreign bytes: whatever it raises, they are no answer
            return Outcome(False, f"malformed answer: {type(problem).__name__}")
        return self._compare(records, bool(flags & _TRUNCATED))

    def _end_of_question(self, answer: bytes, questions: int, rcode: int) -> int | None:
        """Where the records begin; None where the question is not ours. Errors: whatever dnspython raises."""
        if questions != 1:
            return _HEADER.size if rcode and not questions else None
        name, length = dns.name.from_wire(answer, _HEADER.size)
        at = _HEADER.size + length
        asked = (name, *_QUESTION.unpack_from(answer, at))
        return at + _QUESTION.size if asked == (self._name, self._type, dns.rdataclass.IN) else None

    def _records(self, answer: bytes, at: int, count: int, truncated: bool) -> list[dns.rdata.Rdata]:
        """The records of the type that was asked for. Errors: whatever dnspython raises; struct.error."""
        found = []
        for _ in range(count):
            if truncated and at == len(answer):
                break
            at += dns.name.from_wire(answer, at)[1]
            kind, group, _, length = _RECORD.unpack_from(answer, at)
            at += _RECORD.size
            if (kind, group) == (self._type, dns.rdataclass.IN):
                found.append(dns.rdata.from_wire(dns.rdataclass.IN, self._type, answer, at, length))
            at += length
            if at > len(answer):
                raise ValueError("a record goes beyond the end")
        return found

    def _compare(self, records: Sequence[dns.rdata.Rdata], truncated: bool) -> Outcome:
        if self._expected:
            there = [_comparable(each) for each in records]
            missing = next((text for text, value in self._expected if value not in there), None)
            if missing is not None:
                found = "the answer is truncated" if truncated else f"found {_shown(records)}"
                return Outcome(False, f"{missing[:_SHOWN]} is not among the answers: {found}")
        count = "1 record" if len(records) == 1 else f"{len(records)} records"
        return Outcome(True, f"NOERROR, {'truncated' if truncated else count}")


def _record(kind: dns.rdatatype.RdataType, text: str) -> dns.rdata.Rdata:
    if kind == dns.rdatatype.TXT and not text.startswith('"'):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        text = f'"{escaped}"'
    return dns.rdata.from_text(dns.rdataclass.IN, kind, text, origin=dns.name.root, relativize=False)


def _comparable(record: dns.rdata.Rdata) -> object:
    """Equal for equal records."""
    if isinstance(record, TXT):
        return b"".join(record.strings)
    return record.to_digestable(dns.name.root)


def _shown(records: Sequence[dns.rdata.Rdata]) -> str:
    """What was found, short enough for a log."""
    texts = sorted(each.to_text()[:_SHOWN] for each in records)
    return ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "") if texts else "none"
