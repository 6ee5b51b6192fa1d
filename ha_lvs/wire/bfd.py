"""BFD control packets, version 1 (RFC 5880 section 4.1): bytes <-> values.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                       My Discriminator                        |
    |                      Your Discriminator                       |
    |             Desired Min TX Interval, microseconds             |
    |            Required Min RX Interval, microseconds             |
    |         Required Min Echo RX Interval, microseconds           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

What a receiver has to verify (section 6.8.6) and can verify without knowing its sessions stands in `decode`, one reason
for each way to fail, so that drops can be counted by cause. The rest (which session, TTL) is its caller's.

Neither authentication nor the echo function is spoken here: a packet with the A bit is dropped, as that section wants
it from whoever has no authentication in use, and the echo interval is always sent as 0, "do not send any".
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from ha_lvs.errors import WireError

PORT = 3784
"""UDP destination of control packets on a single hop (RFC 5881 section 4)."""
SOURCE_PORTS = range(49152, 65536)
"""UDP source of control packets: one of these, the same for the life of a session (RFC 5881 section 4)."""
HOP_LIMIT = 255
"""TTL of what is sent, and of what is accepted: nobody behind a router can forge it (RFC 5881 section 5)."""
VERSION = 1
MAX_INTERVAL_US = 2**32 - 1

_PACKET = struct.Struct("!BBBBIIIII")
_POLL, _FINAL, _INDEPENDENT, _AUTHENTICATED, _DEMAND, _MULTIPOINT = 0x20, 0x10, 0x08, 0x04, 0x02, 0x01


class State(enum.Enum):
    """State of a session; the value is that on the wire."""

    ADMIN_DOWN = 0
    DOWN = 1
    INIT = 2
    UP = 3

    @property
    def text(self) -> str:
        """As people write it."""
        return _STATE_TEXTS[self]


_STATE_TEXTS = {State.ADMIN_DOWN: "AdminDown", State.DOWN: "Down", State.INIT: "Init", State.UP: "Up"}
_STATES = {state.value: state for state in State}


class Diagnostic(enum.IntEnum):
    """Why a session is not up any more, in the words of its sender. More numbers are reserved and may be received."""

    NONE = 0
    DETECTION_TIME_EXPIRED = 1
    ECHO_FAILED = 2
    NEIGHBOR_SIGNALED_DOWN = 3
    FORWARDING_PLANE_RESET = 4
    PATH_DOWN = 5
    CONCATENATED_PATH_DOWN = 6
    ADMINISTRATIVELY_DOWN = 7
    REVERSE_CONCATENATED_PATH_DOWN = 8


def diagnostic_text(diagnostic: int) -> str:
    """A diagnostic in words, also one that is reserved."""
    try:
        return Diagnostic(diagnostic).name.lower().replace("_", " ")
    except ValueError:
        return f"diagnostic {diagnostic}"


@dataclass(frozen=True, slots=True)
class Control:
    """One control packet.

    Arguments:
        state: of the sender's end.
        diagnostic: 0 to 31; see `Diagnostic`.
        multiplier: Detect Mult, 1 to 255.
        my_discriminator: the sender's, not 0.
        your_discriminator: the receiver's as far as the sender knows it, else 0.
        desired_min_tx_us: the shortest interval at which the sender would like to send, in microseconds.
        required_min_rx_us: the shortest interval that the sender can receive; 0 when it wants no periodic packets.
        required_min_echo_us: the same of echo packets; 0 when it supports none.
        poll: the sender wants its parameters confirmed by a packet with `final`.
        final: answers a poll.
        control_plane_independent: the sender's BFD survives its control plane.
        demand: the sender wants no periodic packets while both ends are up.
    """

    state: State
    diagnostic: int
    multiplier: int
    my_discriminator: int
    your_discriminator: int
    desired_min_tx_us: int
    required_min_rx_us: int
    required_min_echo_us: int = 0
    poll: bool = False
    final: bool = False
    control_plane_independent: bool = False
    demand: bool = False


def encode(packet: Control) -> bytes:
    """The UDP payload of a packet.

    Errors: struct.error when a field does not fit; whoever makes the values keeps them in range.
    """
    flags = (
        packet.state.value << 6
        | (_POLL if packet.poll else 0)
        | (_FINAL if packet.final else 0)
        | (_INDEPENDENT if packet.control_plane_independent else 0)
        | (_DEMAND if packet.demand else 0)
    )
    return _PACKET.pack(
        VERSION << 5 | packet.diagnostic,
        flags,
        packet.multiplier,
        _PACKET.size,
        packet.my_discriminator,
        packet.your_discriminator,
        packet.desired_min_tx_us,
        packet.required_min_rx_us,
        packet.required_min_echo_us,
    )


def your_discriminator_of(payload: bytes) -> int:
    """The receiver's discriminator in a packet, valid or not; 0 when it has none."""
    return int.from_bytes(payload[8:12], "big") if len(payload) >= _PACKET.size else 0


def decode(payload: bytes) -> Control:
    """The packet in a UDP payload. What stands behind the length that it tells is ignored.

    Errors: WireError with one of the reasons `truncated`, `version`, `length`, `multiplier`, `multipoint`,
    `discriminator`, `authentication`.
    """
    if len(payload) < _PACKET.size:
        raise WireError("truncated", f"{len(payload)} bytes are no BFD control packet")
    version_diagnostic, flags, multiplier, length, mine, yours, tx_us, rx_us, echo_us = _PACKET.unpack_from(payload)
    if version_diagnostic >> 5 != VERSION:
        raise WireError("version", f"version {version_diagnostic >> 5}")
    if flags & _AUTHENTICATED:
        raise WireError("authentication", "the packet is authenticated, which is not supported: turn it off there")
    if not _PACKET.size <= length <= len(payload):
        raise WireError("length", f"a length of {length} in {len(payload)} bytes")
    if multiplier == 0:
        raise WireError("multiplier", "a detection multiplier of 0")
    if flags & _MULTIPOINT:
        raise WireError("multipoint", "the multipoint bit is set")
    if mine == 0:
        raise WireError("discriminator", "the sender's discriminator is 0")
    state = _STATES[flags >> 6]
    if yours == 0 and state not in (State.DOWN, State.ADMIN_DOWN):
        raise WireError("discriminator", f"state {state.text} without our discriminator")
    return Control(
        state=state,
        diagnostic=version_diagnostic & 0x1F,
        multiplier=multiplier,
        my_discriminator=mine,
        your_discriminator=yours,
        desired_min_tx_us=tx_us,
        required_min_rx_us=rx_us,
        required_min_echo_us=echo_us,
        poll=bool(flags & _POLL),
        final=bool(flags & _FINAL),
        control_plane_independent=bool(flags & _INDEPENDENT),
        demand=bool(flags & _DEMAND),
    )
