"""Snapshots judged by the real Envoy: what it would hold from the stream, as one static bootstrap.

Routes and endpoints go where the stream would have put them; the files that TLS names become throwaway ones.
"""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshwright.proxy.run import envoy_path
from meshwright.snapshot.names import SDS_CLUSTER
from meshwright.snapshot.static import static_resources
from pki import self_signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.snapshot.resources import Snapshot

_OUR_FILES = {"certificate_chain": "chain.pem", "private_key": "key.pem", "trusted_ca": "chain.pem"}


def bootstrap(snapshot: Snapshot, files: Path | None = None) -> dict[str, Any]:
    """A bootstrap that holds `snapshot` statically; TLS files become those in `files`."""
    held = static_resources(snapshot)
    document = {
        "node": {"id": snapshot.proxy.path, "cluster": snapshot.proxy.name},
        "static_resources": {**held, "clusters": [*held["clusters"], _sds()]},
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
    issued = self_signed("localhost", "127.0.0.1")
    return {"chain.pem": issued.certificate, "key.pem": issued.key}


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
