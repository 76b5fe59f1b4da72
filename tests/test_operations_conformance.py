"""The operation table says what the published service model says, member by member."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

import published
from meshwright import errors
from meshwright.model.identity import PORTABLE_KINDS, Kind
from meshwright.model.state import SPECS
from meshwright.operations import OPERATIONS, Operation, Verb


def differences(operation: Operation, model: dict[str, Any]) -> list[str]:
    """Where `operation` says something else than the published operation of its name."""
    row = model["operations"][operation.name]
    taken, given = (model["shapes"][row[way]["shape"]] for way in ("input", "output"))
    members = {
        name: (member.get("location", "body"), member.get("locationName", name), name in taken.get("required", ()))
        for name, member in taken["members"].items()
    }
    results = {name for name in given["members"] if name != "nextToken"}
    said = {
        "method": (operation.method, row["http"]["method"]),
        "uri": (operation.uri, row["http"]["requestUri"]),
        "status": (200, row["http"]["responseCode"]),
        "idempotent": (operation.writes, row.get("idempotent", False)),
        "members": ({one.name: (one.location, one.name, one.required) for one in operation.members}, members),
        "errors": (sorted(one.__name__ for one in operation.errors), sorted(e["shape"] for e in row["errors"])),
        "output": ({operation.output} - {""}, results),
        "payload": (operation.verb in {Verb.CREATE, Verb.DESCRIBE, Verb.UPDATE, Verb.DELETE}, "payload" in given),
        "limit": (operation.most, limit(taken, model)),
        "paged": (operation.most > 0, operation.name in published.paginators()),
        "token": (
            [name for name in operation_names(operation) if name == "clientToken"],
            [name for name, member in taken["members"].items() if member.get("idempotencyToken")],
        ),
    }
    return [
        f"{operation.name}: {what} is {ours}, published {theirs}"
        for what, (ours, theirs) in said.items()
        if ours != theirs
    ]


def operation_names(operation: Operation) -> list[str]:
    """The names of an operation's members."""
    return [one.name for one in operation.members]


def limit(taken: dict[str, Any], model: dict[str, Any]) -> int:
    """The largest `limit` that an operation's input takes, 0 where it takes none."""
    member = taken["members"].get("limit")
    if member is None:
        return 0
    shape = model["shapes"][member["shape"]]
    assert shape["min"] == 1
    most: int = shape["max"]
    return most


def test_the_table_has_the_38_published_operations_and_no_other() -> None:
    """A missing row would be a 404 to a stock client."""
    model = published.description()
    assert set(OPERATIONS) == set(model["operations"])
    assert len(OPERATIONS) == 38


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_is_as_published(name: str) -> None:
    """Path, method, status, members and where they travel, errors, output."""
    assert differences(OPERATIONS[name], published.description()) == []


@pytest.mark.parametrize("kind", PORTABLE_KINDS)
def test_the_output_s_payload_is_named_after_the_kind(kind: Kind) -> None:
    """The body of a reply is this member alone."""
    model = published.description()
    for verb in ("Create", "Describe", "Update", "Delete"):
        shape = model["shapes"][model["operations"][f"{verb}{kind.type_name}"]["output"]["shape"]]
        assert shape["payload"] == OPERATIONS[f"{verb}{kind.type_name}"].output == str(kind)


@pytest.mark.parametrize("kind", PORTABLE_KINDS)
def test_the_spec_of_a_kind_is_the_published_shape(kind: Kind) -> None:
    """What `decode_request` decodes `spec` as."""
    model = published.description()
    taken = model["shapes"][model["operations"][f"Create{kind.type_name}"]["input"]["shape"]]
    assert taken["members"]["spec"]["shape"] == SPECS[kind].__name__


@pytest.mark.parametrize("name", sorted(published.paginators()))
def test_a_list_s_output_is_what_paginators_collect(name: str) -> None:
    """boto3 goes through the pages by these names."""
    page = published.paginators()[name]
    assert page["result_key"] == OPERATIONS[name].output
    assert {page["input_token"], page["limit_key"]} <= {one.name for one in OPERATIONS[name].members}


def test_the_ten_errors_are_as_published() -> None:
    """Names and HTTP statuses."""
    model = published.description()
    theirs = {
        name: shape["error"]["httpStatusCode"] for name, shape in model["shapes"].items() if shape.get("exception")
    }
    ours = {one.__name__: one.status for one in errors.ApiError.__subclasses__()}
    assert ours == theirs
    assert len(ours) == 10


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("CreateRoute", {"method": "DELETE"}),
        ("CreateRoute", {"uri": "/v20190125/meshes/{meshName}/virtualRouters/{virtualRouterName}/routes"}),
        ("DeleteMesh", {"members": ()}),
        ("UpdateMesh", {"errors": ()}),
        ("ListMeshes", {"output": "mesh"}),
        ("DescribeMesh", {"verb": Verb.LIST}),
    ],
)
def test_a_wrong_row_is_told(name: str, change: dict[str, Any]) -> None:
    """The comparison can fail: on our side."""
    wrong = msgspec.structs.replace(OPERATIONS[name], **change)
    assert differences(wrong, published.description()) != []


def test_a_changed_publication_is_told() -> None:
    """The comparison can fail: on the published side."""
    model = copy.deepcopy(published.description())
    model["shapes"]["CreateRouteInput"]["required"].remove("spec")
    assert "members" in differences(OPERATIONS["CreateRoute"], model)[0]
