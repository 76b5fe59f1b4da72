"""Programs of the user's in place of stand-ins: who answered is what proxies say, whatever the answer's body says."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from test_trials import ran

if TYPE_CHECKING:
    from pathlib import Path

MESH = """
meshName: small
spec: {egressFilter: {type: DROP_ALL}}
---
virtualNodeName: web
spec:
  backends: [{virtualService: {virtualServiceName: hand.local}}]
---
virtualNodeName: hand
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: hand.nodes}}
  backends: [{virtualService: {virtualServiceName: pay.local}}]
---
virtualNodeName: pay
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: pay.nodes}}
---
virtualServiceName: pay.local
spec: {provider: {virtualNode: {virtualNodeName: pay}}}
---
virtualServiceName: hand.local
spec: {provider: {virtualNode: {virtualNodeName: hand}}}
"""
PROGRAM = """
import http.client, http.server, os

HANDED_ON = {"traceparent", "x-request-id"}


class Hand(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        backend = http.client.HTTPConnection(os.environ.get("MESHWRIGHT_EGRESS", "pay.local"), 8080, timeout=30)
        handed = {name: value for name, value in self.headers.items() if name.lower() in HANDED_ON}
        backend.request(self.command, self.path, headers={"Host": "pay.local:8080", **handed})
        answer = backend.getresponse()
        body = answer.read()
        backend.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Hand).serve_forever()
"""
PROJECT = f"""
stack: small
definitions: [mesh.yaml]
tests: [tests.yaml]
workloads:
  hand: {{command: "exec {sys.executable} program.py"}}
"""
WRITTEN = """
- name: hand asks pay
  from: web
  request: {url: http://hand.local:8080/asked}
  expect:
    {status: 200, served_by: hand, path: [web, hand, pay], attempts: 1, arrived: {":path": /asked}, of: 20}
"""


@pytest.mark.envoy
@pytest.mark.parametrize("trace", ["handed on", "dropped"])
def test_a_program_that_hands_its_backends_answer_on_has_answered_itself(tmp_path: Path, trace: str) -> None:
    """Whether or not it carries the trace on: its backend's body says who answered it, and not whom."""
    program = PROGRAM if trace == "handed on" else PROGRAM.replace('{"traceparent", "x-request-id"}', "set()")
    files = {"mesh.yaml": MESH, "meshwright.yaml": PROJECT, "program.py": program, "tests.yaml": WRITTEN}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    only = ("--only", "hand asks pay", "--only", "* is reached*")
    done = ran(tmp_path, "--isolation", "loopback", "--report", "report.json", *only)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    tests = {one["name"]: one for one in report["tests"]}
    assert {one["outcome"] for one in tests.values()} == {"passed"}
    assert {"hand asks pay", "virtual service hand.local:8080 is reached"} <= tests.keys()
    assert {(one["caller"], one["callee"]) for one in report["edges"]} == {
        ("mesh/small/virtualNode/web", "mesh/small/virtualNode/hand"),
        ("mesh/small/virtualNode/hand", "mesh/small/virtualNode/pay"),
    }
    assert all(one["declared"] and one["passed"] for one in report["edges"])
