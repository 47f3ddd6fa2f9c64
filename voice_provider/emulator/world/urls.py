"""Addresses that customers name: are they any, and are they on this machine?"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit


def split(url: str) -> SplitResult | None:
    """The parts of an http(s) address; None for anything else."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, a port beyond 65535
        return None
    return parts if whole else None


def is_loopback(url: str) -> bool:
    parts = split(url)
    if parts is None or parts.hostname is None:
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
