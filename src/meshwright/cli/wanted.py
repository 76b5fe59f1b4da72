"""From definitions to a plan: read, judge, compare with what runs; refuse what cannot work before anything is sent.

The one rule: a definition with an error is refused with its file and line, and nothing was changed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from meshwright import constraints, rules
from meshwright.cli.adopting import adopted, remark_overwritten
from meshwright.cli.definitions import loaded
from meshwright.cli.judging import judged
from meshwright.cli.terminal import shows_colour
from meshwright.diagnostics import Severity
from meshwright.documents.findings import EMPTY
from meshwright.errors import RefusedError, UsageError
from meshwright.graph import resolve
from meshwright.model.identity import Key
from meshwright.model.state import State
from meshwright.plan import diff
from meshwright.views import text
from meshwright.views.diagnostics import report

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from meshwright.cli.target import Target
    from meshwright.diagnostics import Diagnostic
    from meshwright.documents.load import Loaded
    from meshwright.plan import Plan
    from meshwright.remote import Client


class Planned(NamedTuple):
    """A plan, and what it was made of."""

    plan: Plan
    read: Loaded
    observed: State
    adopted: tuple[Key, ...] = ()
    """Objects that are planned as they run, whatever the definitions say."""


def planned(
    target: Target,
    client: Client,
    paths: tuple[Path, ...],
    parameters: tuple[str, ...],
    *,
    allow_empty: bool,
    adopt: bool = False,
) -> Planned:
    """The plan from what runs to the definitions; to `adopt`, with what the stack's owner wrote since.

    Raises:
        RefusedError: a definition has an error, or would with what runs; or there is none, which would delete the
            whole stack, without `allow_empty`; or one was changed that is to be adopted.
        UsageError: mesh or stack cannot be told.
    """
    read = loaded(target.project, paths, parameters, target.mesh)
    stack, found = target.owner(), judged(read)
    if allow_empty:
        found = tuple(one for one in found if one.rule != EMPTY)
    _refuse(read, found)
    mesh = _mesh(target, read.state)
    observed = client.read(mesh).state
    taken: tuple[Key, ...] = ()
    if adopt:
        kept, taken = adopted(target, client, read, observed, mesh=mesh, stack=stack)
        read = msgspec.structs.replace(read, state=kept)
    if not allow_empty:
        _refuse_emptying(observed, read.state, stack, mesh)
    _refuse_missing_mesh(mesh, observed, read.state, client.endpoint)
    in_place = _judged_in_place(read, observed, stack)
    _refuse(read, in_place)
    _remark(target, found, in_place)
    plan = diff(observed, read.state, stack, mesh)
    if not adopt:
        remark_overwritten(target, client, plan)
    return Planned(plan, read, observed, taken)


def _judged_in_place(read: Loaded, observed: State, stack: str) -> tuple[Diagnostic, ...]:
    """What is wrong with the definitions once they stand among what runs of other stacks."""
    whole = resolve(State(one for one in observed if not one.in_release_of(stack)).put(*read.state))
    found = (*constraints.check(whole, whole=True), *rules.audit(whole, whole=True))
    return read.sources.attach(one for one in found if one.subject in read.sources)


def _refuse_emptying(observed: State, wanted: State, stack: str, mesh: str) -> None:
    """Raise when only the definitions are empty: more likely a path is wrong than that the stack shall go."""
    number = sum(one.in_release_of(stack) and one.key.mesh == mesh for one in observed)
    if number and not len(wanted):
        raise RefusedError(
            f"The definitions hold no object, and all of stack {stack!r} in mesh {mesh!r} would be deleted: "
            f"{number} object{'s' * (number != 1)}. Give --allow-empty if that is meant. Nothing was changed."
        )


def _refuse_missing_mesh(mesh: str, observed: State, wanted: State, endpoint: str) -> None:
    """Raise once what every object of the mesh would say of itself."""
    key = Key.of_mesh(mesh)
    if len(wanted) and key not in observed and key not in wanted:
        raise RefusedError(
            f"Mesh {mesh!r} does not exist at {endpoint}, and no definition makes it. Add one (meshName: {mesh}) to "
            "this stack or to the one that shall own the mesh, or correct the name. Nothing was changed."
        )


def _refuse(read: Loaded, found: Iterable[Diagnostic]) -> None:
    errors = [one for one in found if one.severity is Severity.ERROR]
    if errors:
        told = report((one.key.path for one in read.state), errors)
        click.echo(text.render(told, colour=shows_colour(sys.stderr)), err=True, nl=False)
        raise RefusedError("The definitions have errors; nothing was changed.")


def _remark(target: Target, found: Iterable[Diagnostic], in_place: Iterable[Diagnostic]) -> None:
    """Count the warnings that `validate` shows too, and say those that take what runs besides."""
    warnings = {(one.rule, one.subject, one.path) for one in found if one.severity is Severity.WARNING}
    if warnings:
        number = len(warnings)
        target.say(f"{number} warning{'s' * (number != 1)}; `meshwright validate` shows them.")
    for one in in_place:
        if one.severity is Severity.WARNING and (one.rule, one.subject, one.path) not in warnings:
            target.say(f"{one.source}: {one.severity} {one.rule} {one.summary}. {one.detail}".strip())


def _mesh(target: Target, state: State) -> str:
    """The mesh that is meant: the configured one, else the only one that the definitions speak of."""
    if target.mesh is None and len(state.meshes) > 1:
        raise UsageError(
            f"The definitions speak of {len(state.meshes)} meshes ({', '.join(state.meshes)}); a release is about "
            "one. Give the files of one mesh."
        )
    mesh = target.mesh or (state.meshes[0] if state.meshes else target.place()[0])
    strays = [one for one in state.meshes if one != mesh]
    if strays:
        where = next(one.key for one in state if one.key.mesh == strays[0])
        raise UsageError(
            f"This run is about mesh {mesh!r}, but {where} lies in mesh {strays[0]!r}. Give the files of one mesh, "
            "or let no definition name its mesh."
        )
    return mesh
