"""Snapshots judged by the real Envoy: what it would hold from the stream, as one static bootstrap.

Routes and endpoints go where the stream would have put them; the files that TLS names become throwaway ones.
"""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshwright.proxy.run import envoy_path
from meshwright.snapshot import messages
from meshwright.snapshot.names import SDS_CLUSTER
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.snapshot.resources import EnvoyResource, Snapshot

_OUR_FILES = {"certificate_chain": "chain.pem", "private_key": "key.pem", "trusted_ca": "chain.pem"}


def as_dict(resource: EnvoyResource) -> dict[str, Any]:
    """A resource as JSON-like values."""
    name = resource.type_url.rpartition("/")[2]
    return messages.as_dict(messages.message(name).FromString(resource.body))


def bootstrap(snapshot: Snapshot, files: Path | None = None) -> dict[str, Any]:
    """A bootstrap that holds `snapshot` statically; TLS files become those in `files`."""
    routes = {name: as_dict(one) for name, one in snapshot.of(ROUTE).items()}
    endpoints = {name: as_dict(one) for name, one in snapshot.of(ENDPOINT).items()}
    clusters = [_static(as_dict(one), endpoints) for one in snapshot.of(CLUSTER).values()]
    listeners = [_inlined(as_dict(one), routes) for one in snapshot.of(LISTENER).values()]
    document = {
        "node": {"id": snapshot.proxy.path, "cluster": snapshot.proxy.name},
        "static_resources": {"clusters": [*clusters, _sds()], "listeners": listeners},
    }
    if files is not None:
        _replace_files(document, files)
    return document


def refusal(snapshots: Sequence[Snapshot]) -> str:
    """Envoy's words about the first of `snapshots` that it refuses; "" when it takes all."""
    for snapshot in snapshots:
        said = _judge(snapshot)
        if said:
            return f"{snapshot.proxy}: {said}"
    return ""


@functools.cache
def credentials() -> dict[str, bytes]:
    """A self-signed certificate for `localhost` and 127.0.0.1 and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throwaway")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return {
        "chain.pem": certificate.public_bytes(serialization.Encoding.PEM),
        "key.pem": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }


def _judge(snapshot: Snapshot) -> str:
    with tempfile.TemporaryDirectory(prefix="meshwright-check-") as folder:
        files = Path(folder)
        for name, content in credentials().items():
            (files / name).write_bytes(content)
        config = files / "bootstrap.json"
        config.write_text(json.dumps(bootstrap(snapshot, files)))
        run = subprocess.run(
            [envoy_path(), "--mode", "validate", "--log-level", "error", "-c", config],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    return "" if run.returncode == 0 else run.stdout + run.stderr


def _static(cluster: dict[str, Any], endpoints: dict[str, Any]) -> dict[str, Any]:
    if cluster.get("type") != "EDS":
        return cluster
    kept = {name: value for name, value in cluster.items() if name not in {"eds_cluster_config", "type"}}
    return {**kept, "type": "STATIC", "load_assignment": endpoints[cluster["name"]]}


def _inlined(listener: dict[str, Any], routes: dict[str, Any]) -> dict[str, Any]:
    chains = [*listener.get("filter_chains", ()), listener.get("default_filter_chain", {})]
    for one in (filter_ for chain in chains for filter_ in chain.get("filters", ())):
        rds = one["typed_config"].pop("rds", None)
        if rds is not None:
            one["typed_config"]["route_config"] = routes[rds["route_config_name"]]
    return listener


def _sds() -> dict[str, Any]:
    address = {"pipe": {"path": "/nowhere/sds.sock"}}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    options = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    return {
        "name": SDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": options,
        "load_assignment": {"cluster_name": SDS_CLUSTER, "endpoints": [endpoint]},
    }


def _replace_files(value: Any, files: Path) -> None:
    if isinstance(value, list):
        for one in value:
            _replace_files(one, files)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name in _OUR_FILES and isinstance(one, dict) and "filename" in one:
                one["filename"] = str(files / _OUR_FILES[name])
            else:
                _replace_files(one, files)
        if str(value.get("@type", "")).endswith(".FileAccessLog"):
            value["path"] = "/dev/null"
