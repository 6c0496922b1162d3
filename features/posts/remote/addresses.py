"""Which addresses may be asked: none of this machine or a private network, which a stranger's table must not reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from ...spec import BadItem
from .settings import HTTP

NAT64 = ipaddress.ip_network("64:ff9b::/96")  # IPv6 addresses that stand for IPv4 ones


class PrivateAddressError(OSError):
    """A host leads to an address of this machine or of a private network."""


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also where it holds another one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ipaddress.IPv4Address(ip.packed[-4:]) if ip in NAT64 else None)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def check_url(url: str, allowed: Collection[str]) -> bool:
    """Whether the host of a link, or of a redirection, is one of those `allowed` at a private address too.

    Raises BadItem for another scheme than http or https, and for a private address that is written out.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme.lower() not in HTTP or not host:
        raise BadItem(f"it leads to {url[:200]!r}, which is not fetched: only http and https are")
    if host in allowed:
        return True
    try:
        public = is_public(host)
    except ValueError:  # a name, of which the addresses are checked when they are known
        public = host != "localhost" and not host.endswith(".localhost")
    if not public:
        raise BadItem(refusal(host))
    return False


def refusal(host: str) -> str:
    """Why a host is not asked, and what allows it."""
    return f"{host} is a private address, which links must not lead to; --allow-host {host} allows it"
