"""Judging definitions: what loading, App Mesh's constraints, our rules and Envoy find, and how it is told.

The one rule: what `validate` prints is what `plan` and `apply` refuse.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from meshwright import constraints, rules
from meshwright.cli.terminal import shows_colour
from meshwright.diagnostics import Severity, worst
from meshwright.graph import resolve
from meshwright.model.identity import Kind
from meshwright.views.diagnostics import as_json

if TYPE_CHECKING:
    from meshwright.diagnostics import Diagnostic
    from meshwright.documents.load import Loaded
    from meshwright.views.diagnostics import Report

_PROXIES = frozenset({Kind.VIRTUAL_GATEWAY, Kind.VIRTUAL_NODE})
"""What an Envoy runs for."""


def judged(read: Loaded, whole: bool | None = None) -> tuple[Diagnostic, ...]:
    """Everything that loading, App Mesh's constraints and our rules find in `read`, with file and line."""
    graph = resolve(read.state)
    unread = frozenset(read.broken)
    unwise = rules.audit(graph, whole=whole, unread=unread, now=int(time.time() * 1000))
    found = (*constraints.check(graph, whole=whole, unread=unread), *unwise)
    return (*read.diagnostics, *read.sources.attach(found))


def by_envoy(read: Loaded, found: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
    """What the real Envoy refuses of `read`; nothing while `found` holds errors."""
    if worst(found) is Severity.ERROR:
        click.echo("Envoy was not asked: correct the errors first.", err=True)
        return ()
    if not any(one.key.kind in _PROXIES for one in read.state):
        click.echo("Envoy had nothing to judge: these files hold no virtual node and no virtual gateway.", err=True)
    from meshwright.proxy import check  # protobuf would triple the start-up time

    return read.sources.attach(check.check(resolve(read.state)))


def rendered(told: Report, form: str, fail_on: Severity, *, quiet: bool) -> str:
    """The report in one of the formats of `validate`."""
    if form == "json":
        return as_json(told)
    if form == "sarif":
        import importlib.metadata  # a tenth of the start-up time otherwise

        from meshwright.views import sarif  # only what is asked for is loaded

        return sarif.render(told, tool_version=importlib.metadata.version("meshwright"))
    if form == "junit":
        from meshwright.views import junit  # only what is asked for is loaded

        return junit.render(told, fail_on=fail_on)
    from meshwright.views import text  # only what is asked for is loaded

    return "" if quiet and not told.diagnostics else text.render(told, colour=shows_colour(sys.stdout))
