"""The variables of App Mesh's Envoy image: each is honoured, needless or warned about, and documented as such."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from envoys import until
from handmade import NODE
from meshwright.errors import MeshwrightError, UsageError
from meshwright.model.identity import Key, Kind
from meshwright.proxy.bootstrap import Settings, bootstrap
from meshwright.proxy.extras import extras
from meshwright.proxy.image import VARIABLES, Variable, image
from meshwright.proxy.run import envoy_path
from meshwright.proxy.settings import Address
from processes import DEADLINE, free_port
from proxying import Running, proxy
from stage import staged
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


COLLECTOR = ("static_resources", "clusters", 1, "load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint",
             "address", "socket_address")  # fmt: skip
"""The address that a tracer sends to."""

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
    "x-ray rate": (
        {"ENABLE_ENVOY_XRAY_TRACING": "1", "XRAY_SAMPLING_RATE": "0.5"},
        ("tracing", "http", "typed_config", "sampling_rule_manifest", "inline_string"),
        '{"version": 2, "default": {"fixed_target": 1, "rate": 0.5}}',
    ),
    "x-ray rules": (
        {
            "ENABLE_ENVOY_XRAY_TRACING": "1",
            "XRAY_SAMPLING_RATE": "0.5",
            "XRAY_SAMPLING_RULE_MANIFEST": "{folder}/rules.json",
        },
        ("tracing", "http", "typed_config", "sampling_rule_manifest"),
        {"filename": "{folder}/rules.json"},
    ),
    "x-ray segment": (
        {"ENABLE_ENVOY_XRAY_TRACING": "1", "XRAY_SEGMENT_NAME": "front"},
        ("tracing", "http", "typed_config", "segment_name"),
        "front",
    ),
    "datadog port": (
        {"ENABLE_ENVOY_DATADOG_TRACING": "1", "DATADOG_TRACER_ADDRESS": "127.0.0.4", "DATADOG_TRACER_PORT": "8127"},
        COLLECTOR,
        {"address": "127.0.0.4", "port_value": 8127},
    ),
    "datadog name": (
        {"ENABLE_ENVOY_DATADOG_TRACING": "1", "DD_SERVICE": "front"},
        ("tracing", "http", "typed_config", "service_name"),
        "front",
    ),
    "jaeger address": (
        {"ENABLE_ENVOY_JAEGER_TRACING": "1", "JAEGER_TRACER_ADDRESS": "127.0.0.5", "JAEGER_TRACER_PORT": "9412"},
        COLLECTOR,
        {"address": "127.0.0.5", "port_value": 9412},
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
    (tmp_path / "rules.json").write_text('{"version": 2, "default": {"fixed_target": 1, "rate": 0.1}}')
    document = made({name: value.format(folder=tmp_path) for name, value in variables.items()})
    if isinstance(expected, dict):
        expected = {name: str(one).format(folder=tmp_path) if name == "filename" else one
                    for name, one in expected.items()}  # fmt: skip
    assert at(document, path) == expected
    assert taken(document, tmp_path)


def at(document: Any, path: tuple[str | int, ...]) -> Any:
    """What lies there in a bootstrap."""
    for step in path:
        document = document[step]
    return document


TOLD: dict[str, tuple[dict[str, str], tuple[str | int, ...], Any]] = {
    "the older name": ({"APPMESH_RESOURCE_NAME": CART.path}, ("node", "id"), CART.path),
    "the oldest name": ({"APPMESH_VIRTUAL_NODE_NAME": CART.path}, ("node", "id"), CART.path),
    "an older name of another": (
        {"APPMESH_RESOURCE_NAME": DOOR.path, "APPMESH_VIRTUAL_NODE_NAME": CART.path},
        ("node", "id"),
        DOOR.path,
    ),
    "the newest name of another": (
        {"APPMESH_RESOURCE_ARN": DOOR.path, "APPMESH_RESOURCE_NAME": CART.path},
        ("node", "id"),
        DOOR.path,
    ),
    "the older cluster": (
        {"APPMESH_RESOURCE_ARN": CART.path, "APPMESH_VIRTUAL_NODE_CLUSTER": "carts"},
        ("node", "cluster"),
        "carts",
    ),
    "both clusters": (
        {
            "APPMESH_RESOURCE_ARN": CART.path,
            "APPMESH_RESOURCE_CLUSTER": "newer",
            "APPMESH_VIRTUAL_NODE_CLUSTER": "older",
        },
        ("node", "cluster"),
        "newer",
    ),
    "the administration over IPv6": (
        {
            "APPMESH_RESOURCE_ARN": CART.path,
            "ENVOY_ADMIN_ACCESS_ENABLE_IPV6": "true",
            "ENVOY_ADMIN_ACCESS_PORT": "9909",
        },
        ("admin", "address", "socket_address"),
        {"address": "::1", "port_value": 9909},
    ),
    "the administration on a socket": (
        {"APPMESH_RESOURCE_ARN": CART.path, "ENVOY_ADMIN_MODE": "uds", "ENVOY_ADMIN_ACCESS_PORT": "9909"},
        ("admin", "address", "pipe"),
        {"path": "/tmp/envoy_admin.sock", "mode": 0o600},
    ),
}


@pytest.mark.envoy
@pytest.mark.parametrize("case", TOLD, ids=str)
def test_the_command_is_told_by_variables_alone(case: str, tmp_path: Path) -> None:
    """Who it is, under older names too, and where its administration listens, which the real Envoy takes."""
    variables, path, expected = TOLD[case]
    document = printed(env={**KEY, **variables})
    assert at(document, path) == expected
    assert path[0] == "node" or taken(document, tmp_path)


LIVE = {
    "APPMESH_RESOURCE_NAME": NODE.path,
    "APPMESH_XDS_ENDPOINT": "127.0.0.1:{xds}",
    "APPNET_AGENT_ADMIN_MODE": "uds",
    "APPNET_AGENT_ADMIN_UDS_PATH": "{folder}/told.sock",
    "ENVOY_ADMIN_ACCESS_PORT": "{admin}",
    "ENVOY_CONCURRENCY": "1",
    "ENVOY_LOG_LEVEL": "warn",
    "LISTENER_DRAIN_WAIT_TIME_S": "7",
    "HC_POLL_INTERVAL_MS": "100",
}


@pytest.mark.envoy
async def test_a_running_proxy_does_as_the_variables_say(tmp_path: Path) -> None:
    """Its agent answers on the socket, Envoy runs as it is to, and its connection is looked at as often as asked."""
    admin, agent = Address("127.0.0.1", free_port()), Address(str(tmp_path / "told.sock"))
    async with staged() as stage:
        places = {"xds": stage.port, "admin": admin.port, "folder": tmp_path}
        variables = {name: value.format(**places) for name, value in LIVE.items()}
        unsigned = "--insecure-xds-without-authentication"
        async with proxy(tmp_path, unsigned, variables=variables, agent=agent, admin=admin) as one:
            await until(functools.partial(answers, one), "ready")
            _, said = await asyncio.to_thread(one.admin.ask, "/server_info")
            options = json.loads(said)["command_line_options"]
            assert (options["concurrency"], options["log_level"], options["drain_time"]) == (1, "warning", "7s")
            begun, asked = await requests(one), 0

            async def looked() -> bool:
                nonlocal asked
                asked += 1
                return await requests(one) - begun - asked >= 20

            # At the usual ten seconds it would take over three minutes.
            await until(looked, "its connection is looked at")


async def answers(one: Running) -> bool:
    """Whether the agent says that it serves."""
    return (await one.status())[0] == 200


async def requests(one: Running) -> int:
    """How often the administration of its Envoy was asked something."""
    return (await one.stats("^http.admin.downstream_rq_total$"))["http.admin.downstream_rq_total"]


@pytest.mark.envoy
async def test_an_administration_on_a_socket_is_asked_there(tmp_path: Path) -> None:
    """As `ENVOY_ADMIN_MODE` puts it: the agent says what Envoy says."""
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps({"admin": {"address": {"pipe": {"path": str(tmp_path / "admin.sock")}}}}))
    async with proxy(tmp_path, variables={"ENVOY_CONFIG_FILE": str(path)}) as one:
        await until(functools.partial(answers, one), "ready")
        status, text = await one.ask("/stats/prometheus?filter=server.live")
        assert (status, "envoy_server_live{} 1" in text) == (200, True)


IMAGE = """
APPMESH: DUALSTACK_ENDPOINT METRIC_EXTENSION_VERSION PLATFORM_APP_MESH_CONTROLLER_VERSION PLATFORM_K8S_VERSION PREVIEW
    RESOURCE_ARN RESOURCE_CLUSTER RESOURCE_NAME SDS_SOCKET_PATH SET_TRACING_DECISION SIGNING_NAME VIRTUAL_NODE_CLUSTER
    VIRTUAL_NODE_NAME XDS_ENDPOINT
APPNET: AGENT_ADMIN_MODE AGENT_ADMIN_UDS_PATH AGENT_HTTP_BIND_ADDRESS AGENT_HTTP_PORT AGENT_LOGGING_RESET_TIMEOUT
    AGENT_POLL_ENVOY_READINESS_INTERVAL_S AGENT_POLL_ENVOY_READINESS_TIMEOUT_S CONTAINER_IP_MAPPING
    ENABLE_RELAY_MODE_FOR_XDS ENVOY_LOG_DESTINATION ENVOY_RESTART_COUNT FIPS_MODE_ENABLED LISTENER_PORT_MAPPING
    MANAGEMENT_DOMAIN_NAME MANAGEMENT_PORT RELAY_LISTENER_UDS_PATH
AWS: REGION XRAY_DAEMON_ADDRESS
DATADOG: TRACER_ADDRESS TRACER_PORT
DD: SERVICE
ENABLE: ENVOY_DATADOG_TRACING ENVOY_DOG_STATSD ENVOY_JAEGER_TRACING ENVOY_STATS_TAGS ENVOY_XRAY_TRACING STATS_SNAPSHOT
ENVOY: ADMIN_ACCESS_ENABLE_IPV6 ADMIN_ACCESS_LOG_FILE ADMIN_ACCESS_PORT ADMIN_MODE CONCURRENCY CONFIG_FILE
    ENABLE_TCP_POOL_IDLE_TIMEOUT INITIAL_FETCH_TIMEOUT LOG_LEVEL NO_EXTENSION_LOOKUP_BY_NAME RESOURCES_CONFIG_FILE
    STATS_CONFIG_FILE STATS_FLUSH_INTERVAL STATS_SINKS_CFG_FILE TRACING_CFG_FILE
    USE_HTTP_CLIENT_TO_FETCH_AWS_CREDENTIALS
HC: DISCONNECTED_TIMEOUT_S POLL_INTERVAL_MS
JAEGER: TRACER_ADDRESS TRACER_PORT TRACER_VERSION
LISTENER: DRAIN_WAIT_TIME_S
MAX: REQUESTS_PER_IO_CYCLE
PID: POLL_INTERVAL_MS
STATSD: ADDRESS PORT SOCKET_PATH
XRAY: DAEMON_PORT SAMPLING_RATE SAMPLING_RULE_MANIFEST SEGMENT_NAME
"""
"""The variables that the agent's page describes, by what their names begin with.

Source: https://github.com/aws/amazon-ecs-service-connect-agent
"""

ELSEWHERE = {
    "APPNET_AGENT_HTTP_BIND_ADDRESS": "test_the_agent_listens_where_the_image_did_only_where_the_image_is_spoken_to",
    "APPNET_AGENT_HTTP_PORT": "test_the_agent_listens_where_the_image_did_only_where_the_image_is_spoken_to",
    "APPNET_ENVOY_RESTART_COUNT": "test_a_crashed_envoy_is_started_again_as_often_as_it_may_be",
    "AWS_REGION": "test_a_proxy_says_its_zone",
    "ENVOY_CONFIG_FILE": "test_a_bootstrap_of_ones_own_is_run_as_it_stands",
    "ENVOY_RESOURCES_CONFIG_FILE": "test_files_are_added_to_the_bootstrap",
    "ENVOY_STATS_CONFIG_FILE": "test_files_are_added_to_the_bootstrap",
    "ENVOY_STATS_SINKS_CFG_FILE": "test_files_are_added_to_the_bootstrap",
    "ENVOY_TRACING_CFG_FILE": "test_files_are_added_to_the_bootstrap",
    "HC_DISCONNECTED_TIMEOUT_S": "test_a_proxy_that_lost_its_control_plane_serves_on_and_finds_it_again",
}
"""The tests that show the effect of what is in no table here."""


def test_every_variable_of_the_image_is_known_and_the_effect_of_every_honoured_one_shown() -> None:
    """One that a newer image brings is missing here until somebody says what becomes of it."""
    image_knows = {f"{line.split(':')[0]}_{rest}" for line in IMAGE.strip().replace("\n  ", "").splitlines()
                   for rest in line.split(":")[1].split()}  # fmt: skip
    assert image_knows <= {one.name for one in VARIABLES}
    shown = {name for table in (CASES, TOLD) for variables, *_ in table.values() for name in variables}
    assert {one.name for one in VARIABLES if one.honoured} == shown | LIVE.keys() | ELSEWHERE.keys()
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_proxy*.py"))
    assert [name for name in ELSEWHERE.values() if f"def {name}(" not in tests] == []


@pytest.mark.parametrize("one", [one for one in VARIABLES if not one.honoured], ids=lambda one: one.name)
def test_of_what_does_nothing_here_the_expected_is_warned_about_and_the_needless_is_not(one: Variable) -> None:
    """With the reason."""
    told = image({one.name: "7"}).warnings
    assert told == ((f"{one.name} is set and does nothing here. {one.use}",) if one.warned else ())


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
        _, err = process.communicate(timeout=DEADLINE)
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
        out, err = process.communicate(timeout=DEADLINE)
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
