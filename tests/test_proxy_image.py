"""The variables of App Mesh's Envoy image: each is honoured, needless or warned about, and documented as such."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshwright.errors import MeshwrightError, UsageError
from meshwright.model.identity import Key, Kind
from meshwright.proxy.bootstrap import Settings, bootstrap
from meshwright.proxy.extras import extras
from meshwright.proxy.image import VARIABLES, image
from meshwright.proxy.run import envoy_path
from meshwright.proxy.settings import Address
from test_proxy import KEY, meshwright, printed

PAGE = Path(__file__).parent.parent / "docs" / "proxy.md"
CART = Key("shop", Kind.VIRTUAL_NODE, "cart")
DOOR = Key("shop", Kind.VIRTUAL_GATEWAY, "door")


def made(variables: dict[str, str], proxy: Key = CART) -> Any:
    """The bootstrap that comes of the variables."""
    xds, admin = Address("127.0.0.1", 18000), Address("127.0.0.1", 9901)
    return bootstrap(Settings(proxy=proxy, instance="one", extras=extras(variables, proxy), xds=xds, admin=admin))


def test_the_page_says_what_becomes_of_every_variable() -> None:
    """One row each, in the words of the program."""
    rows = []
    for one in VARIABLES:
        verdict = "honoured" if one.honoured else "ignored, with a warning" if one.warned else "ignored"
        rows.append(f"| `{one.name}` | {verdict} | {one.use} |")
    table = "| variable | | |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    assert table in PAGE.read_text()
    assert len({one.name for one in VARIABLES}) == len(VARIABLES)


CASES: dict[str, tuple[dict[str, str], tuple[str | int, ...], Any]] = {
    "tags": (
        {"ENABLE_ENVOY_STATS_TAGS": "1"},
        ("stats_config", "stats_tags"),
        [
            {"tag_name": "appmesh.mesh", "fixed_value": "shop"},
            {"tag_name": "appmesh.virtual_node", "fixed_value": "cart"},
        ],
    ),
    "flush": ({"ENVOY_STATS_FLUSH_INTERVAL": "2500ms"}, ("stats_flush_interval",), "2.500s"),
    "fetch": (
        {"ENVOY_INITIAL_FETCH_TIMEOUT": "7"},
        ("dynamic_resources", "lds_config", "initial_fetch_timeout"),
        "7s",
    ),
    "runtime": (
        {"MAX_REQUESTS_PER_IO_CYCLE": "4"},
        ("layered_runtime", "layers", 0, "static_layer", "http.max_requests_per_io_cycle"),
        4,
    ),
    "statsd": (
        {"ENABLE_ENVOY_DOG_STATSD": "1", "STATSD_ADDRESS": "127.0.0.9", "STATSD_PORT": "9125"},
        ("stats_sinks", 1, "typed_config", "address", "socket_address"),
        {"address": "127.0.0.9", "port_value": 9125, "protocol": "UDP"},
    ),
    "statsd socket": (
        {"ENABLE_ENVOY_DOG_STATSD": "1", "STATSD_SOCKET_PATH": "/run/statsd.sock"},
        ("stats_sinks", 1, "typed_config", "address", "pipe", "path"),
        "/run/statsd.sock",
    ),
    "admin log": (
        {"ENVOY_ADMIN_ACCESS_LOG_FILE": "/dev/null"},
        ("admin", "access_log", 0, "typed_config", "path"),
        "/dev/null",
    ),
    "sds": (
        {"APPMESH_SDS_SOCKET_PATH": "/run/sds.sock"},
        ("static_resources", "clusters", 1, "name"),
        "static_cluster_sds_unix_socket",
    ),
    "x-ray": (
        {"ENABLE_ENVOY_XRAY_TRACING": "1", "XRAY_SAMPLING_RATE": "0.5", "XRAY_DAEMON_PORT": "2001"},
        ("tracing", "http", "typed_config", "daemon_endpoint", "port_value"),
        2001,
    ),
    "x-ray elsewhere": (
        {
            "ENABLE_ENVOY_XRAY_TRACING": "true",
            "AWS_XRAY_DAEMON_ADDRESS": "tcp:127.0.0.2:2002 udp:127.0.0.3:2003",
            "XRAY_SEGMENT_NAME": "front",
        },
        ("tracing", "http", "typed_config", "daemon_endpoint"),
        {"protocol": "UDP", "address": "127.0.0.3", "port_value": 2003},
    ),
    "datadog": (
        {"ENABLE_ENVOY_DATADOG_TRACING": "1", "DATADOG_TRACER_ADDRESS": "datadog.local"},
        ("tracing", "http", "typed_config", "service_name"),
        "envoy-shop/cart",
    ),
    "jaeger": (
        {"ENABLE_ENVOY_JAEGER_TRACING": "1", "JAEGER_TRACER_VERSION": "JSON", "JAEGER_TRACER_PORT": "9412"},
        ("tracing", "http", "typed_config", "collector_endpoint_version"),
        "HTTP_JSON",
    ),
}


@pytest.mark.envoy
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_variable_becomes_what_envoy_takes(case: str, tmp_path: Path) -> None:
    """Each lands where it belongs, and the real Envoy takes the whole."""
    variables, path, expected = CASES[case]
    document = found = made(variables)
    for step in path:
        found = found[step]
    assert found == expected
    assert taken(document, tmp_path)


@pytest.mark.envoy
def test_files_are_added_to_the_bootstrap(tmp_path: Path) -> None:
    """In YAML; the sinks of a file take DogStatsD's place, and its tracing the variable's."""
    cluster = {"name": "mine", "type": "STATIC", "load_assignment": {"cluster_name": "mine"}}
    sink = "type.googleapis.com/envoy.config.metrics.v3.StatsdSink"
    files = {
        "ENVOY_RESOURCES_CONFIG_FILE": {"static_resources": {"clusters": [cluster], "secrets": []}},
        "ENVOY_STATS_CONFIG_FILE": {"stats_config": {"use_all_default_tags": True}},
        "ENVOY_STATS_SINKS_CFG_FILE": {
            "stats_sinks": [
                {
                    "name": "envoy.stat_sinks.statsd",
                    "typed_config": {"@type": sink, "tcp_cluster_name": "mine"},
                }
            ]
        },
        "ENVOY_TRACING_CFG_FILE": {"tracing": {}},
    }
    variables = {"ENABLE_ENVOY_DOG_STATSD": "1", "ENABLE_ENVOY_STATS_TAGS": "1", "ENABLE_ENVOY_XRAY_TRACING": "1"}
    for name, content in files.items():
        variables[name] = str(tmp_path / f"{name}.yaml")
        Path(variables[name]).write_text(yaml.safe_dump(content))
    document = made(variables, DOOR)
    assert document["static_resources"]["clusters"][1:] == [cluster]
    assert [one["name"] for one in document["stats_sinks"][1:]] == ["envoy.stat_sinks.statsd"]
    assert document["stats_config"]["use_all_default_tags"]
    assert document["stats_config"]["stats_tags"][1]["tag_name"] == "appmesh.virtual_gateway"
    assert document["tracing"] == {}
    assert taken(document, tmp_path)


def taken(document: Any, folder: Path) -> bool:
    """Whether the real Envoy takes it."""
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(document))
    command = [str(envoy_path()), "--mode", "validate", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    return True


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ENVOY_CONCURRENCY": "two"}, "ENVOY_CONCURRENCY is 'two'"),
        ({"LISTENER_DRAIN_WAIT_TIME_S": "4"}, "from 5 to 110"),
        ({"ENVOY_LOG_LEVEL": "loud"}, "ENVOY_LOG_LEVEL is 'loud'"),
        ({"ENABLE_ENVOY_STATS_TAGS": "yes"}, "ENABLE_ENVOY_STATS_TAGS is 'yes'"),
        ({"ENVOY_STATS_FLUSH_INTERVAL": "soon"}, "5000ms"),
        ({"ENABLE_ENVOY_XRAY_TRACING": "1", "ENABLE_ENVOY_JAEGER_TRACING": "1"}, "one provider"),
        ({"ENABLE_ENVOY_XRAY_TRACING": "1", "XRAY_SAMPLING_RATE": "2"}, "XRAY_SAMPLING_RATE is '2'"),
        ({"ENABLE_ENVOY_XRAY_TRACING": "1", "AWS_XRAY_DAEMON_ADDRESS": "there"}, "AWS_XRAY_DAEMON_ADDRESS"),
        ({"ENVOY_STATS_CONFIG_FILE": "/nowhere/stats.yaml"}, "ENVOY_STATS_CONFIG_FILE=/nowhere"),
        ({"ENVOY_RESOURCES_CONFIG_FILE": "{folder}/admin.yaml"}, "'admin'"),
        ({"ENVOY_RESOURCES_CONFIG_FILE": "{folder}/list.yaml"}, "holds no object"),
    ],
)
def test_what_a_variable_cannot_hold_is_quoted_and_refused(
    variables: dict[str, str], words: str, tmp_path: Path
) -> None:
    """With its name, its value, and what it takes."""
    (tmp_path / "admin.yaml").write_text("admin: {}\n")
    (tmp_path / "list.yaml").write_text("[]\n")
    given = {name: value.format(folder=tmp_path) for name, value in variables.items()}
    with pytest.raises(MeshwrightError) as caught:
        image(given), extras(given, CART)
    assert words in str(caught.value)


def test_options_beat_variables_and_variables_beat_defaults() -> None:
    """The node, the control plane and the administration, each said twice."""
    told = {
        "APPMESH_RESOURCE_ARN": "arn:aws:appmesh:us-east-1:000000000000:mesh/shop/virtualNode/cart",
        "APPMESH_RESOURCE_CLUSTER": "carts",
        "APPMESH_XDS_ENDPOINT": "unix:///run/cart.sock",
        "ENVOY_ADMIN_ACCESS_PORT": "19901",
    }
    found = printed(env={**KEY, **told})
    assert found["node"]["id"] == "mesh/shop@000000000000/virtualNode/cart"
    assert found["node"]["cluster"] == "carts"
    assert found["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 19901}
    assert "unix" not in str(pipe := where(found)), pipe
    assert pipe == {"pipe": {"path": "/run/cart.sock"}}
    arguments = ("mesh/shop/virtualNode/other", "--xds", "127.0.0.1:1", "--admin-port", "2")
    found = printed(*arguments, env={**KEY, **told, "MESHWRIGHT_XDS": "127.0.0.1:3"})
    assert found["node"]["id"] == "mesh/shop/virtualNode/other"
    assert found["admin"]["address"]["socket_address"]["port_value"] == 2
    assert where(found)["socket_address"]["port_value"] == 1
    found = printed(env={**KEY, **told, "MESHWRIGHT_XDS": "127.0.0.1:3"})
    assert where(found)["socket_address"]["port_value"] == 3


def where(document: Any) -> Any:
    """The address of the control plane in a bootstrap."""
    cluster = document["static_resources"]["clusters"][0]
    return cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]


def test_a_node_that_nobody_names_is_asked_for() -> None:
    """With both ways to say it."""
    environment = {name: value for name, value in KEY.items() if not name.startswith("APPMESH_")}
    with meshwright("--print-bootstrap", env=environment) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "APPMESH_RESOURCE_ARN" in err


def test_variables_that_do_nothing_here_are_warned_about_once() -> None:
    """Where somebody who sets them expects something, and only where they are on."""
    told = image({"APPMESH_PREVIEW": "1", "APPMESH_FIPS_ENDPOINT": "0", "PID_POLL_INTERVAL_MS": "25"})
    assert [one.split()[0] for one in told.warnings] == ["APPMESH_PREVIEW"]
    assert image({"APPMESH_SIGNING_NAME": "appmesh"}).warnings == ()
    with meshwright(
        "mesh/shop/virtualNode/cart", "--print-bootstrap", env={**KEY, "APPMESH_PREVIEW": "1"}
    ) as process:
        out, err = process.communicate(timeout=30)
    assert err.startswith("warning: APPMESH_PREVIEW is set and does nothing here.")
    assert json.loads(out)


def test_the_agent_listens_where_the_image_did_only_where_the_image_is_spoken_to() -> None:
    """A proxy that is named on the command line opens no port unless it is told to."""
    assert image({}).agent is None
    assert image({"APPMESH_RESOURCE_ARN": CART.path}).agent == Address("::", 9902)
    assert image({"APPNET_AGENT_HTTP_PORT": "1234", "APPNET_AGENT_HTTP_BIND_ADDRESS": "127.0.0.1"}).agent == Address(
        "127.0.0.1", 1234
    )
    assert image({"APPNET_AGENT_ADMIN_MODE": "uds"}).agent == Address("/var/run/ecs/appnet_admin.sock")
    with pytest.raises(UsageError, match="tcp, uds"):
        image({"APPNET_AGENT_ADMIN_MODE": "pipe"})


def test_a_bootstrap_of_ones_own_is_run_as_it_stands(tmp_path: Path) -> None:
    """Ours has no part in it."""
    path = tmp_path / "mine.yaml"
    path.write_text("node: {id: mine, cluster: mine}\n")
    assert printed(env={**os.environ, "ENVOY_CONFIG_FILE": str(path)}) == {"node": {"id": "mine", "cluster": "mine"}}
