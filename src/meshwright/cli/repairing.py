"""A repair: the last release's content released once more, and what is left of the drift then.

The one rule: what is nobody's is left alone, and told; a release deletes only what its own stack had released.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click

from meshwright.ci.build import claimed
from meshwright.cli.waiting import arrived, exit_code, left_behind, let_through
from meshwright.release import RollbackRequest
from meshwright.views import releases as view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.cli.target import Target
    from meshwright.remote import Client


def repaired(
    target: Target,
    client: Client,
    found: Mapping[str, Any],
    wait: float | None,
    form: str,
    *,
    reason: str,
    environ: Mapping[str, str],
) -> tuple[dict[str, Any], int]:
    """Repair the drift that was `found`; the document with what came of it, and the exit code.

    Raises:
        RefusedError: it cannot be repaired; nothing was changed.
    """
    number = len(found["differences"])
    told = reason or f"{number} object{'s' * (number != 1)} ran otherwise than {found['release']} left them"
    request = RollbackRequest(repair=True, reason=told, build=claimed(environ), tool_version=version("meshwright"))
    outcome = client.roll_back(found["mesh"], found["stack"], request)
    if outcome.get("pending") is not None:
        outcome = let_through(target, client, outcome, wait or 0, "" if form == "json" else form)
        if outcome["pending"] is not None:
            return {**found, "repair": outcome}, 1
    document, code = {**found, "repair": outcome}, 0
    if form == "text":
        click.echo(view.outcome_text(outcome), nl=False)
    one = outcome["release"]
    if wait is not None:
        arrival = document["propagation"] = arrived(target, client, one, wait)
        code = exit_code(target, arrival, wait, form, left=left_behind(client, one, arrival))
    left = document["left"] = client.drift(found["mesh"], found["stack"])["differences"]
    if left:
        names = ", ".join(difference["object"] for difference in left[:5])
        target.say(
            f"Nobody's, and therefore left alone: {names}{' …' if len(left) > 5 else ''}. Delete them yourself."
        )
    return document, code or int(bool(left))
