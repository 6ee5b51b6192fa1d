"""The frozen values that every room shares. No behaviour beyond identity, order and text.

Units stand last in the names. Addresses are `ipaddress` objects, never text, so that two spellings of one address
are one key. Everything here is light enough for the elector to import. One module a subject; they are imported from
here.
"""

from ha_lvs.model.addresses import (
    IPAddress,
    IPNetwork,
)
from ha_lvs.model.election import (
    MAX_ADVERTISED,
    Authentication,
    BfdSession,
    Key,
    Role,
    Track,
    VirtualIp,
    VirtualRoute,
    VirtualRule,
    VrrpInstance,
    VrrpPath,
    Witnesses,
)
from ha_lvs.model.finding import (
    Announcement,
    CheckPlan,
    FoundServer,
    ServerDiscovery,
)
from ha_lvs.model.health import (
    Check,
    CheckType,
    DnsCheck,
    Endpoint,
    ExecCheck,
    HttpCheck,
    ServerState,
    TlsCheck,
    UdpCheck,
    VirtualPath,
)
from ha_lvs.model.ipvs import (
    FULL_PREFIX,
    HASHING_SCHEDULERS,
    SCHEDULERS,
    SYNC_GROUP,
    Destination,
    DestinationKey,
    Encapsulation,
    Forwarding,
    Protocol,
    Service,
    ServiceEntry,
    ServiceKey,
    SyncDaemon,
    SyncState,
    Timeouts,
    Tunnel,
    TunnelChecksum,
)
from ha_lvs.model.parts import (
    AttendantPart,
    DirectorPart,
    ElectorPart,
    FileTrack,
    NotifyScript,
    Peer,
    PeerLink,
    ProcessTrack,
    ScriptTrack,
    ServicesChange,
)
from ha_lvs.model.services import (
    MOST_PORT,
    AddressRange,
    ConnectionSync,
    OnStop,
    Override,
    PortRange,
    Quorum,
    RealServer,
    Traffic,
    VirtualService,
)

__all__ = [
    "FULL_PREFIX", "HASHING_SCHEDULERS", "MAX_ADVERTISED", "MOST_PORT", "SCHEDULERS", "SYNC_GROUP", "AddressRange",
    "Announcement", "AttendantPart", "Authentication", "BfdSession", "Check", "CheckPlan", "CheckType",
    "ConnectionSync", "Destination", "DestinationKey", "DirectorPart", "DnsCheck", "ElectorPart", "Encapsulation",
    "Endpoint", "ExecCheck", "FileTrack", "Forwarding", "FoundServer", "HttpCheck", "IPAddress", "IPNetwork", "Key",
    "NotifyScript", "OnStop", "Override", "Peer", "PeerLink", "PortRange", "ProcessTrack", "Protocol", "Quorum",
    "RealServer", "Role", "ScriptTrack", "ServerDiscovery", "ServerState", "Service", "ServiceEntry", "ServiceKey",
    "ServicesChange", "SyncDaemon", "SyncState", "Timeouts", "TlsCheck", "Track", "Traffic", "Tunnel", "TunnelChecksum",
    "UdpCheck", "VirtualIp", "VirtualPath", "VirtualRoute", "VirtualRule", "VirtualService", "VrrpInstance", "VrrpPath",
    "Witnesses",
]  # fmt: skip
