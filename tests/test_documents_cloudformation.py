"""CloudFormation templates: functions, parameters, names; what a golden folder would hide in its length."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from meshwright.diagnostics import Severity
from meshwright.documents import Loaded, LoadSettings, load

if TYPE_CHECKING:
    from pathlib import Path


def service(name: Any, **properties: Any) -> dict[str, Any]:
    """A virtual service whose name is `name`."""
    return {
        "Type": "AWS::AppMesh::VirtualService",
        "Properties": {"MeshName": "shop", "VirtualServiceName": name, "Spec": {}, **properties},
    }


def loaded(folder: Path, template: dict[str, Any], **settings: Any) -> Loaded:
    """A template, loaded from a file."""
    path = folder / "template.json"
    path.write_text(json.dumps(template), encoding="utf-8")
    return load([path], LoadSettings(**settings))


def resolved(folder: Path, name: Any, parameters: dict[str, str] | None = None, **template: Any) -> list[str]:
    """What a name comes to: the names of the services, or the summaries of what was found."""
    resources = {"S": service(name), **template.pop("Resources", {})}
    found = loaded(folder, {"Resources": resources, **template}, parameters=parameters or {})
    return [one.summary for one in found.diagnostics] or [one.key.name for one in found.state]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ({"Fn::Sub": "a-${P}-${!P}"}, "a-p-${P}"),
        ({"Fn::Sub": ["${a}.${P}", {"a": {"Ref": "P"}}]}, "p.p"),
        ({"Fn::Join": [".", ["a", {"Ref": "P"}, 1, True]]}, "a.p.1.true"),
        ({"Fn::Join": ["-", {"Ref": "L"}]}, "x-y"),
        ({"Fn::Select": ["1", {"Ref": "L"}]}, "y"),
        ({"Fn::Select": [0, {"Fn::Split": ["|", "a|b"]}]}, "a"),
        ({"Fn::FindInMap": ["M", {"Ref": "P"}, "k"]}, "v"),
        ({"Fn::FindInMap": ["M", "absent", "k", {"DefaultValue": "d"}]}, "d"),
        ({"Fn::If": ["Yes", "a", {"Fn::GetAtt": ["Gone", "Never"]}]}, "a"),
        ({"Fn::If": ["No", {"Ref": "Nowhere"}, "b"]}, "b"),
        ({"Fn::Base64": "a"}, "YQ=="),
        ({"Fn::Sub": "${AWS::Partition}.${AWS::URLSuffix}"}, "aws.amazonaws.com"),
        ({"Ref": "N"}, "8080"),
        ("plain", "plain"),
    ],
)
def test_functions_come_to_what_cloudformation_makes_of_them(tmp_path: Path, name: Any, wanted: str) -> None:
    """Each function, in its forms."""
    template: dict[str, Any] = {
        "Parameters": {
            "P": {"Type": "String", "Default": "p"},
            "L": {"Type": "CommaDelimitedList", "Default": "x, y"},
            "N": {"Type": "Number", "Default": 8080},
        },
        "Mappings": {"M": {"p": {"k": "v"}}},
        "Conditions": {"Yes": {"Fn::Equals": [{"Ref": "N"}, "8080"]}, "No": {"Fn::Not": [{"Condition": "Yes"}]}},
    }
    assert resolved(tmp_path, name, **template) == [wanted]


@pytest.mark.parametrize(
    ("parameter", "given", "fault"),
    [
        ({"AllowedValues": ["a", "b"]}, "c", "it takes one of a, b"),
        ({"AllowedPattern": "[a-z]+"}, "A", "it does not match [a-z]+"),
        ({"MaxLength": 2}, "abc", "its MaxLength is 2"),
        ({"Type": "Number"}, "abc", "it takes a number"),
        ({"Type": "Number", "MinValue": "5"}, "4", "its MinValue is 5"),
        ({"Type": "Number", "MaxValue": 5}, "6", "its MaxValue is 5"),
    ],
)
def test_a_parameter_is_held_against_what_its_template_allows(
    tmp_path: Path, parameter: dict[str, Any], given: str, fault: str
) -> None:
    """As CloudFormation refuses to start an update."""
    template: dict[str, Any] = {"Parameters": {"P": {"Type": "String", **parameter}}}
    found = resolved(tmp_path, {"Ref": "P"}, {"P": given}, **template)
    assert found == [f"the parameter P is {given!r}, but {fault}"]


def test_a_secret_parameter_is_not_shown(tmp_path: Path) -> None:
    """NoEcho holds for us too."""
    template: dict[str, Any] = {"Parameters": {"P": {"Type": "String", "NoEcho": True, "MinLength": 9}}}
    found = resolved(tmp_path, {"Ref": "P"}, {"P": "hunter2"}, **template)
    assert found == ["the parameter P is given, but its MinLength is 9"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ({"Fn::GetAtt": ["Balancer", "DNSName"]}, "Balancer.DNSName"),
        ({"Fn::GetAtt": "Balancer.DNSName"}, "Balancer.DNSName"),
        ({"Ref": "Balancer"}, "Balancer"),
        ({"Fn::ImportValue": {"Fn::Sub": "stack:Host"}}, "stack:Host"),
        ({"Ref": "AWS::StackName"}, "AWS::StackName"),
        ({"Ref": "Stored"}, "Stored"),
    ],
)
def test_what_only_a_deployment_knows_is_named_and_can_be_given(tmp_path: Path, name: Any, key: str) -> None:
    """Under the name that the finding says."""
    template: dict[str, Any] = {
        "Parameters": {"Stored": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/host"}},
        "Resources": {"Balancer": {"Type": "AWS::ElasticLoadBalancingV2::LoadBalancer"}},
    }
    found = resolved(tmp_path, name, **template)
    assert len(found) == 1
    assert key in found[0]
    assert resolved(tmp_path, name, {key: "given"}, **template) == ["given"]


def test_a_long_chain_of_references_ends_in_one_finding(tmp_path: Path) -> None:
    """Neither recursion nor patience runs out."""
    chain = {f"R{i}": service({"Fn::GetAtt": [f"R{i + 1}", "VirtualServiceName"]}) for i in range(3000)}
    found = loaded(tmp_path, {"Resources": {**chain, "R3000": service("end")}})
    told = [one.summary for one in found.diagnostics if one.rule != "MW013"]  # the end of the chain has one name
    assert told == ["the functions of this template stand inside each other too deeply"]


def test_a_short_chain_of_references_is_followed(tmp_path: Path) -> None:
    """Ten are more than anybody writes."""
    chain = {f"R{i}": service({"Fn::Sub": f"a${{R{i + 1}.VirtualServiceName}}"}) for i in range(9)}
    found = loaded(tmp_path, {"Resources": {**chain, "R9": service("end")}})
    assert found.diagnostics == ()
    assert "aaaaaaaaaend" in {one.key.name for one in found.state}


def test_names_that_double_at_every_step_are_refused(tmp_path: Path) -> None:
    """Thirty steps would make a gigabyte."""
    twice = "${{R{0}.VirtualServiceName}}${{R{0}.VirtualServiceName}}"
    double = {f"R{i}": service({"Fn::Sub": twice.format(i + 1)}) for i in range(29)}
    found = loaded(tmp_path, {"Resources": {**double, "R29": service("x" * 100)}})
    assert "this function makes a text longer than 65,536 characters" in [one.summary for one in found.diagnostics]


def test_conditions_that_depend_on_each_other_are_found(tmp_path: Path) -> None:
    """And a deep nest of them ends."""
    deep: Any = {"Fn::Equals": ["a", "a"]}
    for _ in range(45):
        deep = {"Fn::Not": [deep]}
    conditions = {"A": {"Fn::Not": [{"Condition": "B"}]}, "B": {"Fn::Not": [{"Condition": "A"}]}, "D": deep}
    resources = {name: {**service(name), "Condition": name} for name in ("A", "D")}
    found = loaded(tmp_path, {"Resources": resources, "Conditions": conditions})
    assert [one.summary for one in found.diagnostics] == ["the condition 'A' depends on itself"]
    assert len(found.state) == 0


def test_what_a_loop_or_a_transform_would_make_is_not_passed_over(tmp_path: Path) -> None:
    """Or a release would delete it; loops over resources of others do not matter."""
    made = {"S${x}": service("s")}
    loops = {
        "Fn::ForEach::One": ["x", ["a"], made],
        "Fn::ForEach::Two": ["x", ["a"], {"Fn::ForEach::Deep": ["y", ["b"], made]}],
        "Fn::ForEach::Other": ["x", ["a"], {"T${x}": {"Type": "AWS::SNS::Topic"}}],
    }
    found = loaded(tmp_path, {"Resources": loops})
    assert [one.summary.split(" is a loop")[0] for one in found.diagnostics] == [
        "Fn::ForEach::One",
        "Fn::ForEach::Two",
    ]
    assert {one.severity for one in found.diagnostics} == {Severity.ERROR}
    include = {"Name": "AWS::Include", "Parameters": {"Location": "s3://bucket/more.yaml"}}
    found = loaded(tmp_path, {"Resources": {"S": service("s"), "Fn::Transform": include}})
    assert [(one.rule, one.severity) for one in found.diagnostics] == [("MW014", Severity.WARNING)]


def test_a_mesh_left_out_is_the_settings_mesh(tmp_path: Path) -> None:
    """So that one template serves every environment."""
    resources = {"S": service("web")}
    del resources["S"]["Properties"]["MeshName"]
    found = loaded(tmp_path, {"Resources": resources}, mesh="staging")
    assert [one.key.path for one in found.state] == ["mesh/staging/virtualService/web"]


def test_other_resources_do_not_matter(tmp_path: Path) -> None:
    """Whatever they hold."""
    properties = {"X": {"Ref": "Nowhere"}, "Y": {"Fn::Nope": []}}
    other = {"Type": "AWS::EC2::VPC", "Properties": properties, "Condition": "None"}
    assert resolved(tmp_path, "web", Resources={"Other": other, "Odd": 1, "List": []}) == ["web"]
