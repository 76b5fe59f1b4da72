"""The part of SARIF 2.1.0 that we write, strictly: what is not declared here is refused.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

Level: TypeAlias = Literal["none", "note", "warning", "error"]
Position: TypeAlias = Annotated[int, Meta(ge=1)]
Text: TypeAlias = Annotated[str, Meta(min_length=1)]
UriReference: TypeAlias = Annotated[
    str, Meta(pattern=r"^([a-z][a-z0-9+.-]*:)?([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})*$")
]


class _Closed(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """`additionalProperties: false`."""


class Message(_Closed):
    """`message` without placeholders, and `multiformatMessageString`."""

    text: Text
    markdown: Text | None = None


class Configuration(_Closed):
    """`reportingConfiguration`."""

    level: Level


class Descriptor(_Closed):
    """`reportingDescriptor`."""

    id: Text
    name: Text
    short_description: Message
    help: Message
    default_configuration: Configuration


class Driver(_Closed):
    """`toolComponent`."""

    name: Text
    version: Text
    rules: list[Descriptor]


class Tool(_Closed):
    """`tool`."""

    driver: Driver


class ArtifactLocation(_Closed):
    """`artifactLocation`."""

    uri: UriReference


class Region(_Closed):
    """`region` of a text."""

    start_line: Position
    start_column: Position | None = None


class PhysicalLocation(_Closed):
    """`physicalLocation`."""

    artifact_location: ArtifactLocation
    region: Region | None = None


class LogicalLocation(_Closed):
    """`logicalLocation`."""

    fully_qualified_name: Text
    kind: Text


class Location(_Closed):
    """`location`."""

    physical_location: PhysicalLocation | None = None
    logical_locations: list[LogicalLocation] = []


class Result(_Closed):
    """`result`; every one of ours names a rule of the run."""

    rule_id: Text
    rule_index: Annotated[int, Meta(ge=0)]
    level: Level
    message: Message
    partial_fingerprints: dict[str, str]
    locations: list[Location] = []


class Run(_Closed):
    """`run`; results are present though they may be none."""

    tool: Tool
    column_kind: Literal["utf16CodeUnits", "unicodeCodePoints"]
    results: list[Result]


class Log(_Closed):
    """`sarifLog`."""

    schema: str = msgspec.field(name="$schema")
    version: Literal["2.1.0"]
    runs: list[Run]


def read(text: str) -> Run:
    """The one run of a log.

    Raises:
        msgspec.ValidationError: it is no log of this shape; the message names the member.
    """
    (run,) = msgspec.json.decode(text, type=Log).runs
    ids = [rule.id for rule in run.tool.driver.rules]
    assert len(set(ids)) == len(ids)
    for one in run.results:
        assert ids[one.rule_index] == one.rule_id
    return run
