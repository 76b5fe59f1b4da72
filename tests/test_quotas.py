"""Quotas: App Mesh's documented ones unless the operator says otherwise, by the trust file or by `serve --quota`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from live import live
from meshwright.cli.quotas import quotas
from meshwright.errors import UsageError
from meshwright.operations import DEFAULT_QUOTAS, UNLIMITED, Quotas
from serving import Serving

if TYPE_CHECKING:
    from pathlib import Path

MESHES = "/v20190125/meshes"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((), {}),
        (("virtual-gateways=5",), {"virtual_gateways": 5}),
        (("virtual_gateways=5", "virtual-gateways=7"), {"virtual_gateways": 7}),
        (("routes=unlimited",), {"routes": UNLIMITED.routes}),
        (("unlimited", "meshes=2"), msgspec.structs.asdict(UNLIMITED) | {"meshes": 2}),
    ],
)
def test_a_quota_is_named_and_a_later_one_beats_an_earlier_one(given: tuple[str, ...], found: dict[str, int]) -> None:
    """With hyphens or underscores."""
    assert quotas(given) == found


@pytest.mark.parametrize("text", ["", "meshes", "meshes=", "meshes=0", "meshes=-1", "meshes=1.5", "mesh=3", "all"])
def test_what_is_no_quota_is_refused_by_name(text: str) -> None:
    """With the one that was meant, where it can be told."""
    with pytest.raises(UsageError, match="--quota"):
        quotas((text,))
    with pytest.raises(UsageError, match="did you mean 'virtual_nodes'"):
        quotas(("virtual-node=3",))


def test_the_defaults_are_the_documented_ones() -> None:
    """Source: https://docs.aws.amazon.com/general/latest/gr/appmesh.html."""
    assert (
        Quotas(
            meshes=15,
            virtual_nodes=200,
            virtual_services=200,
            virtual_routers=200,
            virtual_gateways=3,
            routes=50,
            gateway_routes=10,
            backends=50,
        )
        == DEFAULT_QUOTAS
    )


@pytest.mark.parametrize(
    ("flags", "most"), [((), 15), (("--quota", "meshes=2"), 2), (("--quota", "unlimited"), None)]
)
def test_a_server_keeps_its_quotas(tmp_path: Path, flags: tuple[str, ...], most: int | None) -> None:
    """The default ones without a word; what is refused says which limit it was."""
    with live(tmp_path / "data", *flags) as server:
        api = Serving(server.api, cast("Any", None))
        answers = [
            api.ask("PUT", MESHES, json.dumps({"meshName": f"m{number}"}).encode(), key=server.key)
            for number in range(17)
        ]
        server.end()
    made = [one.status for one in answers].count(200)
    assert made == (most or 17)
    if most is not None:
        assert answers[-1].code == "LimitExceededException"
        assert answers[-1].message == f"The limit of {most} Meshes for the account is exceeded"


def test_the_trust_file_s_quotas_hold_and_flags_beat_them(tmp_path: Path) -> None:
    """A flag for one quota leaves the others as the file has them."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "trust.yaml").write_text("version: 1\nquotas: {meshes: 2, virtual_nodes: 1}\n")
    with live(folder, "--quota", "meshes=3") as server:
        api = Serving(server.api, cast("Any", None))
        for number in range(4):
            last = api.ask("PUT", MESHES, json.dumps({"meshName": f"m{number}"}).encode(), key=server.key)
        assert last.message == "The limit of 3 Meshes for the account is exceeded"
        for name in "ab":
            body = json.dumps({"virtualNodeName": name, "spec": {}}).encode()
            last = api.ask("PUT", f"{MESHES}/m0/virtualNodes", body, key=server.key)
        assert last.message == "The limit of 1 VirtualNodes for Mesh m0 is exceeded"
        server.end()
