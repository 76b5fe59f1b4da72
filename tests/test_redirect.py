"""Production placement under traffic: real Envoys behind App Mesh's own `iptables` rules, in namespaces of their own.

The clients are plain ones that know of no proxy: they ask DNS for a virtual service's name, connect, and talk.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from configparser import ConfigParser
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from envoy_check import credentials
from meshwright.documents import LoadSettings, load
from meshwright.graph import resolve
from meshwright.lab.namespaces import missing
from meshwright.model import Key, Kind
from meshwright.simulate import Call, route
from netns import Machine, Network
from processes import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(bool(missing()), reason=missing())]

SUBNET = "10.99.0"
CONTROL, WEB, V1, V2, LEDGER, DOOR, OUTSIDE, NOBODY = (f"{SUBNET}.{one}" for one in (2, 10, 11, 12, 13, 20, 30, 250))
NAMES = {
    # Service names lead to an address that nobody has: only the proxy makes them work.
    **{f"{name}.shop.internal": [NOBODY] for name in ("payment", "ledger", "quote")},
    "web.nodes.internal": [WEB],
    "v1.nodes.internal": [V1],
    "v2.nodes.internal": [V2],
    "ledger.nodes.internal": [LEDGER],
    "stranger.internal": [OUTSIDE],
    "s3.us-east-1.amazonaws.com": [OUTSIDE],
}
MESH = """
meshName: shop
spec: {egressFilter: {type: %(egress)s}, serviceDiscovery: {ipPreference: IPv6_PREFERRED}}
---
virtualNodeName: web
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: web.nodes.internal}}
  backendDefaults: {clientPolicy: {tls: {ports: [7000], validation: %(validation)s}}}
  backends:
    - virtualService: {virtualServiceName: payment.shop.internal}
    - virtualService: {virtualServiceName: ledger.shop.internal}
    - virtualService: {virtualServiceName: quote.shop.internal}
---
virtualNodeName: v1
spec:
  listeners:
    - portMapping: {port: 8080, protocol: http}
      healthCheck: {protocol: http, path: /ping, healthyThreshold: 2, unhealthyThreshold: 2, intervalMillis: 5000,
                    timeoutMillis: 2000}
  serviceDiscovery: {dns: {hostname: v1.nodes.internal}}
---
virtualNodeName: v2
spec:
  listeners: [{portMapping: {port: 8081, protocol: http}}]
  serviceDiscovery: {dns: {hostname: v2.nodes.internal, responseType: ENDPOINTS, ipPreference: IPv4_PREFERRED}}
---
virtualNodeName: ledger
spec:
  listeners:
    - portMapping: {port: 9000, protocol: tcp}
    - portMapping: {port: 7000, protocol: grpc}
      tls:
        mode: STRICT
        certificate: {file: {certificateChain: %(folder)s/chain.pem, privateKey: %(folder)s/key.pem}}
  serviceDiscovery: {dns: {hostname: ledger.nodes.internal}}
---
virtualRouterName: payment
spec: {listeners: [{portMapping: {port: 8080, protocol: http}}]}
---
virtualRouterName: payment
routeName: split
spec:
  httpRoute:
    match: {prefix: /}
    action: {weightedTargets: [{virtualNode: v1, weight: 80}, {virtualNode: v2, weight: 20}]}
---
virtualRouterName: ledger
spec: {listeners: [{portMapping: {port: 9000, protocol: tcp}}]}
---
virtualRouterName: ledger
routeName: all
spec: {tcpRoute: {action: {weightedTargets: [{virtualNode: ledger, weight: 1, port: 9000}]}}}
---
virtualRouterName: quote
spec: {listeners: [{portMapping: {port: 7000, protocol: grpc}}]}
---
virtualRouterName: quote
routeName: all
spec:
  grpcRoute:
    match: {serviceName: shop.Quote}
    action: {weightedTargets: [{virtualNode: ledger, weight: 1, port: 7000}]}
---
virtualServiceName: payment.shop.internal
spec: {provider: {virtualRouter: {virtualRouterName: payment}}}
---
virtualServiceName: ledger.shop.internal
spec: {provider: {virtualRouter: {virtualRouterName: ledger}}}
---
virtualServiceName: quote.shop.internal
spec: {provider: {virtualRouter: {virtualRouterName: quote}}}
---
virtualGatewayName: door
spec:
  listeners: [{portMapping: {port: 8088, protocol: http}}, {portMapping: {port: 8089, protocol: grpc}}]
  backendDefaults: {clientPolicy: {tls: {ports: [7000], validation: %(validation)s}}}
---
virtualGatewayName: door
gatewayRouteName: pay
spec:
  httpRoute:
    match: {prefix: /pay/, port: 8088}
    action: {target: {virtualService: {virtualServiceName: payment.shop.internal}}}
---
virtualGatewayName: door
gatewayRouteName: quote
spec:
  grpcRoute:
    match: {serviceName: shop.Quote, port: 8089}
    action: {target: {virtualService: {virtualServiceName: quote.shop.internal}}}
"""
OWN = (15000, 15001)
PAYMENT = "http://payment.shop.internal:8080/buy"


class Shop:
    """The mesh above, running; every machine with an application has its proxy beside it."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.folder = folder
        self._network = network
        for name, content in credentials().items():
            (folder / name).write_bytes(content)
        self.control = self._machine("control", CONTROL)
        self.control.serve(names=NAMES, host=CONTROL)
        arguments = ("--listen", f"{CONTROL}:9080", "--xds", f"{CONTROL}:18000", "--data-dir", str(folder / "data"))
        command = (sys.executable, "-m", "meshwright.cli", "serve", *arguments, "--insecure-listen-beyond-loopback")
        self.control.start(*command, log=folder / "serve.log")
        self.outside = self._machine("outside", OUTSIDE)
        self.outside.serve(
            application="outside",
            ports={"8080": "http", "9999": "greeting", "443": "tls", "7000": "grpc"},
            host=OUTSIDE,
        )
        self.web = self._machine("web", WEB, {8080: "http"})
        servers = [
            self._machine("v1", V1, {8080: "http"}),
            self._machine("v2", V2, {8081: "http"}),
            self._machine("ledger", LEDGER, {9000: "greeting", 7000: "grpc"}),
        ]
        # A gateway is called by its own address, so nothing is redirected there.
        self.door = self._machine("door", DOOR)
        until(lambda: b"Ready" in (folder / "serve.log").read_bytes())
        self.apply(egress="DROP_ALL")
        for machine in (*servers, self.web, self.door):
            self._proxy(machine, "virtualGateway" if machine is self.door else "virtualNode")
        for machine in (*servers, self.web, self.door):
            until(machine.proxied)

    def apply(self, *, egress: str, policy: dict[str, Any] | None = None) -> None:
        """Make the mesh a release, and wait until every connected proxy has it.

        `egress` is the type of its egress filter, `policy` what an egress policy says of `web`.
        """
        definitions = self.folder / "mesh.yaml"
        trust = {"file": {"certificateChain": f"{self.folder}/chain.pem"}}
        validation = {"trust": trust, "subjectAlternativeNames": {"match": {"exact": ["localhost"]}}}
        mesh = MESH % {"egress": egress, "folder": self.folder, "validation": json.dumps(validation)}
        own = {"kind": "meshwright/EgressPolicy", "meshName": "shop", "name": "web"}
        extension = own | {"spec": {"target": {"virtualNodeName": "web"}, **policy}} if policy else None
        definitions.write_text(f"{mesh}---\n{json.dumps(extension)}\n" if extension else mesh)
        environment = ("env", f"AWS_SHARED_CREDENTIALS_FILE={self.folder}/data/credentials")
        options = (
            "--endpoint",
            f"http://{CONTROL}:9080",
            "apply",
            str(definitions),
            "--stack",
            "shop",
            "--wait",
            "20",
        )
        self.control.run(*environment, sys.executable, "-m", "meshwright.cli", *options)

    def _machine(self, name: str, address: str, ports: dict[int, str] | None = None) -> Machine:
        folder = self.folder / name
        folder.mkdir()
        machine = self._network.machine(name, address, folder, tuple(ports or ()))
        if ports:
            # By the mesh's preference, applications are at `::1`; `v2` has one of its own.
            machine.serve(application=name, ports=ports, host="127.0.0.1" if name == "v2" else "::1")
        return machine

    def _proxy(self, machine: Machine, kind: str) -> None:
        folder = self.folder / machine.name / "tmp"
        folder.mkdir()
        folder.chmod(0o777)
        command = (sys.executable, "-m", "meshwright.cli", "proxy", f"mesh/shop/{kind}/{machine.name}")
        options = ("--xds", f"{CONTROL}:18000", "--concurrency", "1", "--drain-seconds", "0")
        log = self.folder / machine.name / "proxy.log"
        environment = (f"TMPDIR={folder}", *_keys(self.folder / "data" / "credentials"))
        machine.start("env", *environment, *command, *options, log=log, proxy=True)


def _keys(credentials: Path) -> tuple[str, ...]:
    """The administrator's key as variables: App Mesh's proxy user may not read the file."""
    sections = ConfigParser()
    sections.read(credentials)
    return tuple(f"{name.upper()}={value}" for name, value in sections["default"].items())


def test_plain_clients_behind_iptables_are_routed_as_defined(tmp_path: Path) -> None:
    """Weights, TCP, TLS, gRPC, the gateway and the egress filter, in the placement that production has."""
    with Network(CONTROL) as network:
        shop = Shop(network, tmp_path)
        weights_divide_the_requests(shop)
        other_protocols_pass_both_proxies(shop)
        the_gateway_takes_requests_from_outside(shop)
        everything_else_is_dropped(shop)
        simulation_says_the_same(shop)
        the_proxies_own_ports_lead_nowhere(shop)
        shop.apply(egress="ALLOW_ALL")
        everything_else_passes(shop)
        simulation_says_the_same(shop)
        the_proxies_own_ports_lead_nowhere(shop)
        shop.apply(egress="ALLOW_ALL", policy={"allow": NAMED})
        what_a_policy_names_passes_and_nothing_else(shop)
        simulation_says_the_same(shop)
        shop.apply(egress="DROP_ALL", policy={"type": "ALLOW_ALL"})
        everything_else_passes(shop)
        simulation_says_the_same(shop)


def weights_divide_the_requests(shop: Shop) -> None:
    """The router's port is called, each version is reached on its own, and nobody noticed a proxy."""
    answers = shop.web.ask({"http": PAYMENT, "times": 60})
    assert {status for status, _ in answers} == {200}, answers
    shares = Counter(body for _, body in answers)
    assert set(shares) == {f"{node} /buy payment.shop.internal:8080" for node in ("v1", "v2")}
    assert shares["v1 /buy payment.shop.internal:8080"] > 30
    ((status, text),) = shop.web.ask({"http": "http://127.0.0.1:9901/stats?filter=upstream_rq_2xx"})
    assert status == 200
    assert "cluster.cds_egress_shop_v1_http_8080.upstream_rq_2xx" in text


def other_protocols_pass_both_proxies(shop: Shop) -> None:
    """TCP in which the server speaks first, and gRPC that is encrypted between the proxies."""
    greeting, quote = shop.web.ask(
        {"greeting": ["ledger.shop.internal", 9000]},
        {"grpc": ["quote.shop.internal", 7000, "/shop.Quote/Get"]},
    )
    assert greeting == "ledger\n"
    assert quote == [200, "ledger /shop.Quote/Get"], quote
    (unencrypted,) = shop.outside.ask({"grpc": [LEDGER, 7000, "/shop.Quote/Get"]})
    assert unencrypted[0] == 0, unencrypted  # the connection ended without an answer


def the_gateway_takes_requests_from_outside(shop: Shop) -> None:
    """Both steps in one Envoy: the gateway route rewrites, its own egress balances."""
    paid, lost, quote = shop.outside.ask(
        {"http": f"http://{DOOR}:8088/pay/now", "host": "shop.example"},
        {"http": f"http://{DOOR}:8088/elsewhere"},
        {"grpc": [DOOR, 8089, "/shop.Quote/Get"]},
    )
    assert paid[0] == 200, paid
    assert paid[1].endswith(" /now payment.shop.internal")
    assert lost[0] == 404
    assert quote == [200, "ledger /shop.Quote/Get"], quote
    (inbound,) = shop.outside.ask({"http": f"http://{WEB}:8080/", "host": "anything"})
    assert inbound == [200, "web / anything"]


def simulation_says_the_same(shop: Shop) -> None:
    """Of each call of `web`, whether it gets through, by the definitions that were applied last."""
    asked = (
        *STRANGERS,
        {"http": PAYMENT},
        {"greeting": ["ledger.shop.internal", 9000]},
        {"grpc": ["quote.shop.internal", 7000, "/shop.Quote/Get"]},
        {"grpc": ["quote.shop.internal", 7000, "/shop.Quotes/Get"]},
        {"tls": ["quote.shop.internal", 8080, "quote.shop.internal"]},
    )
    graph = resolve(load([shop.folder / "mesh.yaml"], LoadSettings()).state)
    for task, answer in zip(asked, shop.web.ask(*asked), strict=True):
        found = route(graph, Key("shop", Kind.VIRTUAL_NODE, "web"), _call(task), time.time_ns() // 1_000_000)
        through = answer[0] == 200 if isinstance(answer, list) else answer in {"outside\n", "ledger\n"}
        assert through is found.succeeds, (task, answer, found.ending)


def _call(task: dict[str, Any]) -> Call:
    """A client's task as a call."""
    if "http" in task:
        parts = urlsplit(task["http"])
        return Call(host=str(parts.hostname), port=parts.port or 80, path=parts.path)
    if "grpc" in task:
        host, port, path = task["grpc"]
        return Call(protocol="grpc", host=host, port=port, path=path)
    host, port, *name = task.get("tls") or task["greeting"]
    return Call(protocol="tcp", host=name[0] if name else host, port=port, scheme="https" if name else "http")


STRANGERS: tuple[dict[str, Any], ...] = (
    {"http": "http://stranger.internal:8080/"},
    {"greeting": ["stranger.internal", 9999]},
    {"tls": ["stranger.internal", 443, "stranger.internal"]},
    {"tls": ["s3.us-east-1.amazonaws.com", 443, "s3.us-east-1.amazonaws.com"]},
    {"grpc": ["stranger.internal", 7000, "/shop.Quote/Get"]},
)


NAMED = (
    {"host": "stranger.internal", "ports": [8080], "protocol": "http"},
    {"host": "*.internal", "ports": [443], "protocol": "tls"},
)


def what_a_policy_names_passes_and_nothing_else(shop: Shop) -> None:
    """A node's policy overrules the mesh's filter; what is named is found by its name, whatever address is called."""
    on_a_known_port, on_another, encrypted, aws, quote, payment = shop.web.ask(*STRANGERS, {"http": PAYMENT})
    assert on_a_known_port == [200, "outside / stranger.internal:8080"]
    assert on_another in {"", "ConnectionResetError"}
    assert (encrypted, aws) == ("outside\n", "outside\n")
    assert quote[0] == 503
    assert payment[0] == 200
    named, unnamed, encrypted, hidden = shop.web.ask(
        {"http": f"http://{V2}:8080/", "host": "stranger.internal:8080"},
        {"http": f"http://{OUTSIDE}:8080/", "host": "evil.example:8080"},
        {"tls": [V2, 443, "stranger.internal"]},
        {"tls": [OUTSIDE, 443, "evil.example"]},
    )
    assert named == [200, "outside / stranger.internal:8080"]
    assert unnamed[0] == 404
    assert encrypted == "outside\n"
    assert hidden in {"SSLEOFError", "SSLZeroReturnError", "ConnectionResetError"}


def everything_else_is_dropped(shop: Shop) -> None:
    """404 on a port of HTTP backends, a closed connection elsewhere; AWS itself stays reachable."""
    on_a_known_port, on_another, encrypted, aws, quote = shop.web.ask(*STRANGERS)
    assert on_a_known_port[0] == 404
    assert on_another in {"", "ConnectionResetError"}
    assert encrypted in {"SSLEOFError", "SSLZeroReturnError", "ConnectionResetError"}
    assert aws == "outside\n"
    assert quote[0] == 503


def everything_else_passes(shop: Shop) -> None:
    """To where the client wanted to go, servers that speak first included; backends stay backends."""
    on_a_known_port, on_another, encrypted, aws, quote, payment = shop.web.ask(*STRANGERS, {"http": PAYMENT})
    assert on_a_known_port == [200, "outside / stranger.internal:8080"]
    assert (on_another, encrypted, aws) == ("outside\n", "outside\n", "outside\n")
    assert quote == [200, "outside /shop.Quote/Get"], quote
    assert payment[0] == 200


def the_proxies_own_ports_lead_nowhere(shop: Shop) -> None:
    """Whoever calls them was not redirected: neither a way around the gateway, nor a proxy that calls itself."""
    tasks = (
        {"http": f"http://{at}:{port}/", "host": "payment.shop.internal:8080"} for at in (WEB, DOOR) for port in OWN
    )
    refused = {"RemoteDisconnected", "ConnectionResetError", "ConnectionRefusedError"}
    assert set(shop.outside.ask(*tasks)) <= refused
    ((_, text),) = shop.web.ask(
        {"http": "http://127.0.0.1:9901/stats?type=Counters&filter=allow-all.upstream_cx_total"}
    )
    assert not text or int(text.split()[-1]) < 10, text
