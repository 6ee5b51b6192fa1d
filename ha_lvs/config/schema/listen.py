"""What a config file says of where the clients of a virtual service go."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ha_lvs.config import endpoints, fields
from ha_lvs.config.fields import Checked, Family, FileModel, Flag, Mark, Shorthand
from ha_lvs.model import AddressRange, PortRange, Protocol, ServiceKey, Traffic

Addresses = Annotated[AddressRange, Checked(endpoints.address_range, fields.STRING)]
Ports = Annotated[
    PortRange,
    Checked(
        endpoints.port_range,
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": r"^[0-9]+\s*-\s*[0-9]+$"},
            ]
        },
    ),
]
_PROTOCOL = {"enum": list(endpoints.PROTOCOLS)}
Protocols = Annotated[
    tuple[Protocol, ...],
    Checked(endpoints.protocols, {"anyOf": [_PROTOCOL, {"type": "array", "items": _PROTOCOL, "minItems": 1}]}),
]


class Listen(FileModel):
    """Ranges of addresses and ports that are one service, or a firewall mark."""

    addresses: list[Addresses] = Field(
        default=[],
        description="Virtual IPs, ranges of them, or networks; of one address family.",
        examples=[["10.9.0.100", "10.9.0.110-10.9.0.120"]],
    )
    ports: list[Ports] = Field(
        default=[],
        description="Ports and ranges of them; every port when left out.",
        examples=[[80, 443, "8000-8100"]],
    )
    protocol: Protocols | None = Field(
        default=None, description="tcp, udp or sctp, or a list of them; needed with `addresses`.", examples=["tcp"]
    )
    mark: Mark | None = Field(
        default=None,
        description="The firewall mark. With `addresses` it is given to their packets by us, and one is made from the "
        "service's name when it is left out; without them you give it yourself, by rules of your own.",
        examples=[5],
    )
    family: Family | None = Field(
        default=None,
        description="ipv4 or ipv6, of the packets that have a mark of your own; ipv4 by default.",
        examples=["ipv4"],
    )
    routed: Flag = Field(
        default=False,
        description="Whether the addresses are no virtual IPs: a network that is routed to the pair, and that you have "
        "made local on both directors (`ip route add local 10.20.0.0/24 dev lo`).",
        examples=[False],
    )

    @cached_property
    def key(self) -> ServiceKey | None:
        """The identity of the service, or None where it is to have a mark that we make."""
        if not self.addresses:
            return None if self.mark is None else ServiceKey.of_mark(self.mark, self.family or 4)
        if self.mark is not None:
            return ServiceKey.of_mark(self.mark, self.version)
        address, port, protocol = self.addresses[0], self.ports[0] if self.ports else None, self.protocol or ()
        single = len(self.addresses) == len(self.ports) == len(protocol) == 1 and address.first == address.last
        if not single or port is None or port.first != port.last:
            return None
        return ServiceKey(address.first, port.first, protocol[0])

    @property
    def version(self) -> int:
        """The address family of the clients, 4 or 6."""
        return self.addresses[0].first.version if self.addresses else self.family or 4

    @cached_property
    def traffic(self) -> Traffic | None:
        """What is to be given a mark by us; None for a single address and port, and for a mark of the operator's."""
        if not self.addresses or (self.key is not None and self.mark is None):
            return None
        return Traffic(self.protocol or (), tuple(self.addresses), tuple(self.ports))

    @property
    def port(self) -> int | None:
        """The one port that it is about, or None where there are several."""
        if len(self.ports) != 1 or self.ports[0].first != self.ports[0].last:
            return None
        return self.ports[0].first or None

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> Any:
        """The short spelling where it says all."""
        if self.key is None or self.traffic is not None or self.routed:
            return handler(self)
        return str(self.key)

    def __str__(self) -> str:
        if self.traffic is None:
            return str(self.key)
        ports = f" ports {', '.join(map(str, self.ports))}" if self.ports else ""
        protocols = "/".join(each.value for each in self.traffic.protocols)
        mark = "" if self.mark is None else f" (mark {self.mark})"
        return f"{', '.join(map(str, self.addresses))}{ports} {protocols}{mark}"


def expand_listen(value: object) -> object:
    """The short spelling, understood."""
    if isinstance(value, (dict, Listen)):
        return value
    key = endpoints.listen(value)
    if key.mark:
        return Listen.model_construct(mark=key.mark, family=key.family)
    return Listen.model_construct(
        addresses=[AddressRange(key.address, key.address)],
        ports=[PortRange(key.port, key.port)],
        protocol=(key.protocol,),
    )


LISTEN = Shorthand(
    expand_listen,
    {"type": "string", "pattern": r"^(.+:[0-9]+/(tcp|udp|sctp)|mark +(0[xX][0-9a-fA-F]+|[0-9]+)( +ipv[46])?)$"},
)
