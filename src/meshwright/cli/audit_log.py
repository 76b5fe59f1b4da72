"""`meshwright audit log`: who did or tried what, searched.

The one rule: it is answered from the log itself, by the server or from its folder alike.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - click calls it
from typing import TYPE_CHECKING, Any, cast

import click

from meshwright.cli.audit_checkpoint import OFFLINE
from meshwright.cli.moments import MOMENT
from meshwright.cli.options import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.audit import Entry

KINDS = (
    "revision",
    "status",
    "inspection",
    "pending",
    "decision",
    "grant",
    "use",
    "key",
    "session",
    "revocation",
    "identity",
    "attempt",
)
"""Those of `audit.KINDS`, which is not imported for a page of help."""


@click.command("log")
@OFFLINE
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@click.option("--before", type=click.IntRange(1), metavar="LEAF", help="Older ones than this leaf.")
@click.option("--kind", type=click.Choice(KINDS), help="Those of this kind.")
@click.option("--outcome", type=click.Choice(("allowed", "refused")), help="Refused attempts, or all else.")
@click.option("--principal", metavar="ARN", help="Those by this ARN, user/NAME, or any session of role/NAME.")
@click.option("--key", metavar="ID", help="Those by the access key or session with this id, or about it.")
@click.option("--build", metavar="N", help="Those of the build with this number, verified or else claimed.")
@click.option("--object", metavar="OBJECT", help="Those about mesh/shop/virtualNode/cart, an ARN, or what is in it.")
@click.option("--release", metavar="RELEASE", help="Those about this release: shop/cart#12, mesh and stack.")
@click.option("--since", type=MOMENT, help="Then or later: 2026-01-31, 2026-01-31T23:59:59Z, or 7d ago.")
@click.option("--until", type=MOMENT, help="Before then.")
@FORMAT
@click.pass_obj
def log(
    options: dict[str, Any], /, *, data_dir: Path | None, limit: int, form: str, **conditions: str | int | None
) -> int:
    """Search the audit log, newest entries first.

    Conditions narrow it; an entry is shown when it meets all of them.

    Exit codes: 0 shown, 1 not allowed, 2 could not be done.
    """
    from meshwright.views.audit import log_text
    from meshwright.views.releases import as_json

    asked = {name: value for name, value in conditions.items() if value is not None}
    found = _asked(options, limit, asked) if data_dir is None else _read(data_dir, limit, asked)
    click.echo(as_json(found) if form == "json" else log_text(found), nl=False)
    return 0


def _asked(options: Mapping[str, Any], limit: int, asked: Mapping[str, str | int]) -> dict[str, Any]:
    from meshwright.cli.target import resolve

    return resolve(options).client().audit_entries(limit, {name: str(value) for name, value in asked.items()})


def _read(data_dir: Path, limit: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    import msgspec

    from meshwright.audit import LogSearch
    from meshwright.cli.stores import opened
    from meshwright.errors import UsageError
    from meshwright.model.identity import parse_key
    from meshwright.views.answers import audit_answer

    if asked.get("object", "").startswith("arn:"):
        try:
            asked = {**asked, "object": parse_key(asked["object"]).path}
        except ValueError as error:
            raise UsageError(f"--object: {error}.") from None
    search = LogSearch(**asked)
    found: list[Entry] = []
    with opened(data_dir) as store:
        while True:
            page, following = store.search_log(search, limit - len(found))
            found += page
            if following is None or len(found) >= limit:
                return cast("dict[str, Any]", msgspec.to_builtins(audit_answer(found, following)))
            search = msgspec.structs.replace(search, before=following)
