"""Which hosts a service may send us to: those on the network, and none behind the worker's own walls.

A service names the addresses of results and uploads. One that points at this machine, its network, or the metadata
service of its cloud would make the worker a messenger into places that only it can reach.
"""

from __future__ import annotations

import ipaddress
import socket
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from collections.abc import Collection

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
# All of IPv6 that anybody has been given (IANA). Outside are links and sites, and what carries an IPv4 address in an
# IPv6 one (NAT64, RFC 6052 and 8215; ::127.0.0.1): who is meant there depends on the router.
_GIVEN = ipaddress.IPv6Network("2000::/3")
# Never in the public DNS (RFC 6761, 6762, 8375, ICANN 2024): whom they mean depends on the machine that asks.
_NOT_PUBLIC = (".localhost", ".localdomain", ".local", ".internal", ".home.arpa")

# What a network of one's own has: RFC 1918, unique local (RFC 4193), shared (RFC 6598); no loopback, no link-local,
# where clouds have their metadata service.
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)


@lru_cache(maxsize=256)  # the same few, several times a request
def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL; two URLs with the same origin may share a key."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def plain(host: str) -> str:
    """Return a host as it is looked up: small letters, other scripts' dots and digits as ours, no dot at the end."""
    return unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for certain: what is below localhost, a resolver may send elsewhere."""
    name = plain(host)
    address = address_of(name)
    return name == "localhost" or (address is not None and address.is_loopback)


def is_internal(host: str) -> bool:
    """Whether a host, by its name or number alone, is none on the network: this machine, a private network, a link."""
    name = plain(host)
    address = address_of(name)
    if address is None:
        return "." not in name or "%" in name or name.endswith(_NOT_PUBLIC)  # %31: some decode it, some do not
    return not is_public(address)


def is_public(address: Address) -> bool:
    """Whether everybody means the same by an address."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.sixtofour or (address.teredo or (None, None))[1]
        if address not in _GIVEN or (inner is not None and not inner.is_global):
            return False
    return address.is_global and not address.is_multicast


def is_private(address: Address) -> bool:
    """Whether an address is one of a network of one's own, such as that between containers."""
    return any(address in network for network in _PRIVATE)


def address_of(host: str) -> Address | None:
    """Read an address as the system would connect to it: also 127.1, 2130706433 and ::ffff:127.0.0.1."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0].strip("[]"))
    except ValueError:
        try:
            return ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    return getattr(address, "ipv4_mapped", None) or address


def is_allowed(host: str, allowed: Collection[str]) -> bool:
    """Whether a host was named: itself, or by a domain that begins with a dot."""
    name = plain(host)
    return any(name == plain(entry) or (entry.startswith(".") and name.endswith(plain(entry))) for entry in allowed)


def has_proxy(scheme: str, host: str) -> bool:
    """Whether a proxy of the environment stands between: it looks the host up, and we do not."""
    return scheme in getproxies() and not proxy_bypass(host)


def look_up(host: str, port: int) -> list[Address]:
    """Return what a name stands for now.

    :raises OSError: nothing
    """
    found = socket.getaddrinfo(plain(host), port, type=socket.SOCK_STREAM)
    addresses = (address_of(str(entry[4][0])) for entry in found)
    return [address for address in addresses if address is not None]
