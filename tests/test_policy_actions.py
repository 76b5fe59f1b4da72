"""The table of actions says what the published service model and the service authorization reference say."""

from __future__ import annotations

import json
from typing import Any

import pytest

import published
from meshwright.api.releases import ENDPOINTS
from meshwright.model.identity import Kind
from meshwright.operations.table import OPERATIONS
from meshwright.trust.actions import ACTIONS, ELSEWHERE, Action, named
from settings import SHARED

REFERENCE = SHARED / "facts" / "appmesh-iam-actions.json"
NOT_OPERATIONS = {"GetMeshPolicy", "PutMeshPolicy", "DeleteMeshPolicy", "StreamAggregatedResources"}
"""Actions that are no operations of the API: RAM's sharing, and the proxies' streams."""

APPMESH = {action.name: action for action in ACTIONS.values() if action.service == "appmesh"}


def reference() -> dict[str, Any]:
    """The service authorization reference, where it is beside the project."""
    if not REFERENCE.is_file():
        pytest.skip("the service authorization reference is not beside the project")
    found: dict[str, Any] = json.loads(REFERENCE.read_text(encoding="utf-8"))["privileges"]
    return found


def test_every_operation_of_the_published_model_is_an_action() -> None:
    """And every action but four is one."""
    operations = set(published.service().operation_names)
    assert set(APPMESH) == operations | NOT_OPERATIONS
    assert set(OPERATIONS) == operations


def test_the_actions_are_those_of_the_service_authorization_reference() -> None:
    """Names, access levels, required and optional resources, condition keys."""
    privileges = reference()
    assert set(APPMESH) == set(privileges)
    for name, privilege in privileges.items():
        action = APPMESH[name]
        kinds = {kind: one for kind, one in privilege["resource_types"].items() if kind}
        assert action.level == privilege["access_level"], name
        assert set(action.required) == {kind for kind, one in kinds.items() if one["required"]}, name
        assert set(action.optional) == {kind for kind, one in kinds.items() if not one["required"]}, name
        keys = {key for one in privilege["resource_types"].values() for key in one["condition_keys"]}
        assert set(action.keys) == keys, name


def test_kinds_are_those_of_the_model() -> None:
    """The model's own words for kinds, so that callers need no second table."""
    for action in APPMESH.values():
        for kind in (*action.required, *action.optional):
            assert Kind(kind).value == kind


def test_our_actions_are_about_what_their_endpoints_ask() -> None:
    """Every kind of resource that the table names is one that some endpoint of the action asks about."""
    asked: dict[str, set[str]] = {}
    for row in ENDPOINTS:
        kind = (
            "extension"
            if row.object
            else "stack"
            if "/stack/" in row.resource
            else "mesh"
            if row.resource.startswith("mesh/")
            else ""
        )
        asked.setdefault(row.action, set()).add(kind)
    ours = {name: one for name, one in ACTIONS.items() if one.service == "meshwright"}
    assert set(ours) == set(asked)
    for name, action in ours.items():
        assert {*action.required, *action.optional} == asked[name] - {""}, name
        assert not (action.required and "" in asked[name]), name


def test_names_know_no_case() -> None:
    """As in policies."""
    assert named("APPMESH:describemesh") == ACTIONS["appmesh:DescribeMesh"]
    assert named("appmesh:DescribeMeshes") is None
    assert isinstance(named("sts:AssumeRole"), Action)


def test_what_is_served_is_not_elsewhere_as_well() -> None:
    """The two lists of STS share nothing."""
    assert not ELSEWHERE & ACTIONS.keys()
    assert all(name.startswith("sts:") for name in ELSEWHERE)
