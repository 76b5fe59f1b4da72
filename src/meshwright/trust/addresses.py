"""Addresses of issuers and of their keys: which of them nobody on the way can answer for; pure.

The one rule: without TLS only what never leaves this machine is trusted.
"""

from __future__ import annotations

import contextlib
import ipaddress
from urllib.parse import urlsplit


def is_safe(address: str) -> bool:
    """Whether nobody on the way can change what is answered: https, or http to this machine."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if "@" in parts.netloc or parts.fragment or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")
