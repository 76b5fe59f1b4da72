"""Terraform: every field of the model comes back, the provider's arguments are known, expressions are worked out."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from everything import everything
from meshwright.diagnostics import Severity
from meshwright.documents import Loaded, LoadSettings, load
from meshwright.model import Kind, encode
from settings import SHARED, examples
from strategies import states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.model import Resource, State

BLOCKS = {
    "backends": "backend", "headers": "header", "listeners": "listener", "queryParameters": "query_parameter",
    "weightedTargets": "weighted_target",
}  # fmt: skip
"""What the provider calls blocks that may stand several times, where it is not the wire's name."""
TYPES = {
    Kind.MESH: "mesh", Kind.VIRTUAL_NODE: "virtual_node", Kind.VIRTUAL_SERVICE: "virtual_service",
    Kind.VIRTUAL_ROUTER: "virtual_router", Kind.ROUTE: "route", Kind.VIRTUAL_GATEWAY: "virtual_gateway",
    Kind.GATEWAY_ROUTE: "gateway_route",
}  # fmt: skip
CERTIFICATE = "{ file { certificate_chain private_key } sds { secret_name } }"
LISTENED = "{ acm { certificate_arn } file { certificate_chain private_key } sds { secret_name } }"
NAMES = "subject_alternative_names { match { exact } }"
FILES = "file { certificate_chain } sds { secret_name }"
POLICY = f"""client_policy {{ tls {{ certificate {CERTIFICATE} enforce ports
    validation {{ {NAMES} trust {{ acm {{ certificate_authority_arns }} {FILES} }} }} }} }}"""
TLS = f"tls {{ certificate {LISTENED} mode validation {{ {NAMES} trust {{ {FILES} }} }} }}"
LOGGING = "logging { access_log { file { path format { text json { key value } } } } }"
HEALTH = "health_check { healthy_threshold interval_millis path port protocol timeout_millis unhealthy_threshold }"
MATCH = "match { exact prefix regex suffix range { start end } }"
TIME = "{ unit value }"
TIMES = f"{{ idle {TIME} per_request {TIME} }}"
POOLS = "grpc { max_requests } http { max_connections max_pending_requests } http2 { max_requests }"
RETRY = f"max_retries per_retry_timeout {TIME} http_retry_events tcp_retry_events"
TARGETS = "action { weighted_target { virtual_node weight port } }"
HTTP = f"""{{ {TARGETS} retry_policy {{ {RETRY} }} timeout {TIMES}
    match {{ prefix path {{ exact regex }} port method scheme header {{ name invert {MATCH} }}
    query_parameter {{ name match {{ exact }} }} }} }}"""
SERVED = "target { port virtual_service { virtual_service_name } }"
REWRITTEN = "hostname { default_target_hostname } path { exact } prefix { default_prefix value }"
ENTERED = f"""{{ action {{ {SERVED} rewrite {{ {REWRITTEN} }} }}
    match {{ prefix path {{ exact regex }} port method hostname {{ exact suffix }} header {{ name invert {MATCH} }}
    query_parameter {{ name match {{ exact }} }} }} }}"""
PROVIDER = {
    Kind.MESH: "egress_filter { type } service_discovery { ip_preference }",
    Kind.VIRTUAL_NODE: f"""backend {{ virtual_service {{ virtual_service_name {POLICY} }} }}
        backend_defaults {{ {POLICY} }}
        listener {{ port_mapping {{ port protocol }} connection_pool {{ {POOLS} tcp {{ max_connections }} }} {HEALTH}
        outlier_detection {{ base_ejection_duration {TIME} interval {TIME} max_ejection_percent max_server_errors }}
        timeout {{ grpc {TIMES} http {TIMES} http2 {TIMES} tcp {{ idle {TIME} }} }} {TLS} }} {LOGGING}
        service_discovery {{ aws_cloud_map {{ namespace_name service_name attributes }}
        dns {{ hostname ip_preference response_type }} }}""",
    Kind.VIRTUAL_ROUTER: "listener { port_mapping { port protocol } }",
    Kind.VIRTUAL_SERVICE: "provider { virtual_node { virtual_node_name } virtual_router { virtual_router_name } }",
    Kind.ROUTE: f"""priority http_route {HTTP} http2_route {HTTP} tcp_route {{ {TARGETS} timeout {{ idle {TIME} }} }}
        grpc_route {{ {TARGETS} retry_policy {{ {RETRY} grpc_retry_events }} timeout {TIMES}
        match {{ service_name method_name port metadata {{ name invert {MATCH} }} }} }}""",
    Kind.VIRTUAL_GATEWAY: f"""backend_defaults {{ {POLICY} }} {LOGGING}
        listener {{ port_mapping {{ port protocol }} connection_pool {{ {POOLS} }} {HEALTH} {TLS} }}""",
    Kind.GATEWAY_ROUTE: f"""priority http_route {ENTERED} http2_route {ENTERED} grpc_route {{ action {{ {SERVED} }}
        match {{ service_name port }} }}""",
}
"""Every argument and block of the provider's `spec`, as its documentation lists them (aws 6)."""


def hcl(resource: Resource, index: int) -> str:
    """An object as a resource of Terraform."""
    key = resource.key
    lines = [f'resource "aws_appmesh_{TYPES[key.kind]}" "r{index}" {{', f"name = {text(key.name)}"]
    if key.kind is not Kind.MESH:
        lines.append(f"mesh_name = {text(key.mesh)}")
    if key.kind.parent:
        lines.append(f"{TYPES[key.kind.parent]}_name = {text(key.parent)}")
    return "\n".join([*lines, "spec {", *body(encode(resource.spec)), "}", "}\n"])


def body(spec: dict[str, Any]) -> Iterator[str]:
    """A spec as arguments and blocks."""
    for wire, value in spec.items():
        name = BLOCKS.get(wire) or re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", wire).lower()
        if name == "attributes":
            yield f"attributes = {text({one['key']: one['value'] for one in value})}"
        elif isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            for one in value if isinstance(value, list) else [value]:
                yield from (f"{name} {{", *body(one), "}")
        else:
            yield f"{name} = {text(value)}"


def text(value: Any) -> str:
    """A value as an expression."""
    return json.dumps(value).replace("${", "$${").replace("%{", "%%{")


def read(folder: Path, files: dict[str, str], parameters: dict[str, str] | None = None) -> Loaded:
    """Files, written and loaded."""
    for name, inside in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(inside, encoding="utf-8")
    return load([folder], LoadSettings(parameters=parameters or {}))


def round_trip(folder: Path, state: State) -> None:
    """Write a state as Terraform, and find the same again."""
    folder.joinpath("mesh.tf").write_text(
        "".join(hcl(one, index) for index, one in enumerate(state)), encoding="utf-8"
    )
    loaded = load([folder], LoadSettings())
    assert [one.summary for one in loaded.diagnostics] == []
    wanted = {one.key: without_zeros(encode(one.spec)) for one in state}
    assert {one.key: encode(one.spec) for one in loaded.state} == wanted


def without_zeros(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec without a priority of 0, which the provider never sends."""
    return {name: value for name, value in spec.items() if (name, value) != ("priority", 0)}


def test_every_field_of_the_model_comes_back(tmp_path: Path) -> None:
    """Of a mesh that has all of them."""
    round_trip(tmp_path, everything())


@settings(max_examples=examples(15))
@given(state=states())
def test_any_mesh_comes_back(tmp_path_factory: pytest.TempPathFactory, state: State) -> None:
    """Written as Terraform and read."""
    round_trip(tmp_path_factory.mktemp("any"), state)


@pytest.mark.parametrize("kind", list(PROVIDER))
def test_every_argument_of_the_provider_is_known(tmp_path: Path, kind: Kind) -> None:
    """Whether its values make sense together is another matter: none of them is an unknown argument."""
    words = re.sub(r"(\b[a-z_0-9]+\b)(?! *\{)", r"\1 = null\n", PROVIDER[kind])
    inside = re.sub(r"([{}])", r"\1\n", words)
    resource = f'resource "aws_appmesh_{TYPES[kind]}" "one" {{\nname = "x"\nspec {{\n{inside}\n}}\n}}\n'
    loaded = read(tmp_path, {"mesh.tf": resource})
    assert loaded.diagnostics
    assert [one.summary for one in loaded.diagnostics if "unknown" in one.summary or one.rule == "MW010"] == []


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ('"a-${var.p}-$${p}"', "a-p-${p}"),
        ('var.p == "p" && !false ? "yes" : var.nothing', "yes"),
        ('join(".", ["a", var.p, 1, true])', "a.p.1.true"),
        ('join("-", [for one in var.l : upper(one) if one != "y"])', "X-Z"),
        ('join("-", keys({for i, one in var.l : one => i}))', "x-y-z"),
        ('join("-", var.m[*].a)', "1-2"),
        ('join("-", values({b = 2, a = 1}))', "1-2"),
        ("var.m[1].a", "2"),
        ('lookup({a = "b"}, "c", "d")', "d"),
        ('try(var.m[7].a, var.m[0].b.c, "none")', "none"),
        ('can(var.m[0].a) ? "can" : "cannot"', "can"),
        ('"${1 + 2 * 3 - 8 / 4 % 3}"', "5"),
        ('element(concat(var.l, ["w"]), 7)', "w"),
        ('replace("a.b", "/[.]/", "-")', "a-b"),
        ('format("%s-%03d", var.p, 7)', "p-007"),
        ("max(var.l...)", "var.l"),
        ('substr("abcdef", -2, -1)', "ef"),
        ("<<-END\n    one\n      two ${var.p}\n  END\n", "one\n  two p\n"),
        ('jsondecode("{\\"a\\": [\\"b\\"]}").a[0]', "b"),
        ('(\n"x"\n)', "x"),
        ('split(",", "a,b")[1]', "b"),
        ('coalesce("", null, "c")', "c"),
        ('tostring(tonumber("8080") + 1)', "8081"),
        ('"\\u00e4\\t\\"${"inner ${var.p}"}"', 'ä\t"inner p'),
        ("other.thing.name", "other.thing is not there"),
        ("uuid()", "uuid() is only worked out by Terraform"),
        ('file("x")', 'file("x") is only worked out by Terraform'),
        ("var.m[5].a", "var.m[5] is not there"),
        ("each.key", "each stands where there is none"),
        ("var.p + 1", "var.p is 'p', no number"),
        ("path.root", "path.root is only known once it is applied"),
        ("1 / 0", "0 is 0, and nothing can be divided by it"),
    ],
)
def test_expressions_come_to_what_terraform_makes_of_them(tmp_path: Path, expression: str, wanted: str) -> None:
    """Or are told in their own words."""
    found = read(
        tmp_path,
        {
            "a.tf": f'variable "p" {{}}\nlocals {{\nv = {expression}\n}}',
            "b.tf": 'variable "l" { default = ["x", "y", "z"] }\nvariable "m" { default = [{a = 1}, {a = 2}] }\n'
            'resource "aws_appmesh_mesh" "m" {\nname = "m"\ntags = { v = local.v }\n}\n',
        },
        {"p": "p"},
    )
    told = [one.summary for one in found.diagnostics]
    assert [tag.value for one in found.state for tag in one.tags] == [wanted] or any(wanted in one for one in told), (
        told
    )


def test_modules_are_made_as_often_as_they_are_called(tmp_path: Path) -> None:
    """With what each call gives; variables of the command line are for the module that nobody calls."""
    inner = 'variable "n" {}\nresource "aws_appmesh_mesh" "m" { name = var.n }\noutput "n" { value = var.n }\n'
    outer = (
        'variable "n" {}\nmodule "a" {\nsource = "./inner"\ncount = 2\nn = "${var.n}-${count.index}"\n}\n'
        'module "b" {\nsource = "./inner"\nn = "after-${module.a[1].n}"\n}\n'
    )
    found = read(tmp_path, {"main.tf": outer, "inner/mesh.tf": inner}, {"n": "x"})
    assert [one.summary for one in found.diagnostics] == []
    assert sorted(found.state.meshes) == ["after-x-1", "x-0", "x-1"]


def test_a_list_is_given_on_the_command_line_as_terraform_writes_it(tmp_path: Path) -> None:
    """So is a mapping."""
    made = (
        'variable "names" {}\nresource "aws_appmesh_mesh" "m" {\nfor_each = toset(var.names)\nname = each.value\n}\n'
    )
    assert sorted(read(tmp_path, {"m.tf": made}, {"names": '["a", "b"]'}).state.meshes) == ["a", "b"]


def test_a_state_of_terraform_is_read_with_every_instance(tmp_path: Path) -> None:
    """As it lies in a `terraform.tfstate`."""
    instances: list[dict[str, Any]] = [
        {"index_key": name, "attributes": {"name": name, "spec": []}} for name in ("a", "b")
    ]
    resources = [
        {"mode": "managed", "type": "aws_appmesh_mesh", "name": "m", "instances": instances},
        {"mode": "data", "type": "aws_appmesh_mesh", "name": "seen", "instances": instances},
        {"mode": "managed", "type": "aws_vpc", "name": "v", "instances": [{"attributes": {"id": "vpc-1"}}]},
    ]
    state = {"version": 4, "terraform_version": "1.9.0", "resources": resources}
    assert sorted(read(tmp_path, {"state.json": json.dumps(state)}).state.meshes) == ["a", "b"]


def test_the_real_project_loads_clean() -> None:
    """A mesh of somebody else's, whole, with the tags of its provider."""
    folder = SHARED / "corpus" / "terraform"
    if not folder.is_dir():
        pytest.skip("the corpus of real definitions is not beside the project")
    loaded = load([folder], LoadSettings())
    assert [one.summary for one in loaded.diagnostics if one.severity is not Severity.INFO] == []
    assert len(loaded.state) == 16
