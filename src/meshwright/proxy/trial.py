"""Snapshots as one static configuration that an Envoy can judge on any machine, one alone or many together.

The one rule: only what lies elsewhere is replaced. Certificates become a throwaway one, access logs go nowhere; where
several snapshots are judged together, names and addresses are made distinct, and nothing else.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import itertools
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshwright.proxy.extras import sds_cluster
from meshwright.routing.expressions import PROGRAM_SIZE
from meshwright.snapshot.static import static_resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from meshwright.snapshot.resources import Snapshot

_CHAIN, _KEY = "chain.pem", "key.pem"
_FILES = {"certificate_chain": _CHAIN, "private_key": _KEY, "trusted_ca": _CHAIN}
_REFERENCES = ("name", "cluster", "cluster_name")
"""The members by which a resource is called, and others call it."""


def document(snapshots: Sequence[Snapshot], folder: Path) -> dict[str, Any]:
    """A bootstrap that holds `snapshots` statically; what it needs of files is written into `folder`."""
    held = [static_resources(one) for one in snapshots]
    if len(held) > 1:
        addresses = itertools.count(2**24)
        for number, one in enumerate(held):
            _distinguish(one, f"{number}~", addresses)
    _write_certificate(folder)
    runtime = {"name": "limits", "static_layer": {"re2.max_program_size.error_level": PROGRAM_SIZE}}
    whole = {
        "node": {"id": snapshots[0].proxy.path, "cluster": snapshots[0].proxy.path},
        "static_resources": {
            "clusters": [sds_cluster("/nowhere/sds.sock"), *(cluster for one in held for cluster in one["clusters"])],
            "listeners": [listener for one in held for listener in one["listeners"]],
        },
        "layered_runtime": {"layers": [runtime]},
    }
    replace_files(whole, folder)
    return whole


def replace_files(value: Any, folder: Path) -> None:
    """Point certificates and keys in `value` to the throwaway ones in `folder`, access logs to nowhere; in place."""
    if isinstance(value, list):
        for one in value:
            replace_files(one, folder)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name in _FILES and isinstance(one, dict) and "filename" in one:
                one["filename"] = str(folder / _FILES[name])
            else:
                replace_files(one, folder)
        if str(value.get("@type", "")).endswith(".FileAccessLog"):
            value["path"] = "/dev/null"


def _distinguish(held: dict[str, Any], prefix: str, addresses: Iterator[int]) -> None:
    """Give the resources of one snapshot names and addresses that no other snapshot has; in place."""
    resources = (*held["clusters"], *held["listeners"])
    _rename(resources, {one["name"] for one in resources}, prefix)
    for listener in held["listeners"]:
        socket = listener["address"]["socket_address"]
        socket["address"] = str(ipaddress.IPv4Address(next(addresses)))
        socket.pop("ipv4_compat", None)


def _rename(value: Any, names: set[str], prefix: str) -> None:
    if isinstance(value, dict):
        for member in _REFERENCES:
            if isinstance(called := value.get(member), str) and called in names:
                value[member] = prefix + called
        _rename(value.values(), names, prefix)
    elif not isinstance(value, str):
        for one in _several(value):
            _rename(one, names, prefix)


def _several(value: Any) -> Iterable[Any]:
    return value if hasattr(value, "__iter__") else ()


def _write_certificate(folder: Path) -> None:
    """A certificate that vouches for itself, and its key: made for one trial, in a folder that goes with it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throwaway")])
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    lasting = built.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    signed = lasting.sign(key, hashes.SHA256())
    (folder / _CHAIN).write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / _KEY
    path.touch(mode=0o600)
    path.write_bytes(private)
