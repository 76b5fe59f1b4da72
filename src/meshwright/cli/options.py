"""Options and arguments that several commands share.

The one rule: nothing here imports more than click, so that `--help` of every command is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., Any]")

STACK = click.option("--stack", envvar="MESHWRIGHT_STACK", help="The stack [default: meshwright.yaml's].")
"""The option for commands that take a mesh for their definitions already."""
_MESH = click.option("--mesh", envvar="MESHWRIGHT_MESH", help="The mesh [default: meshwright.yaml's].")
ALLOW_EMPTY = click.option(
    "--allow-empty", is_flag=True, help="Let definitions that hold nothing delete everything of the stack."
)
"""The option of commands that compare definitions with what runs."""
ADOPT = click.option(
    "--adopt",
    is_flag=True,
    help="Keep what the stack's owner wrote object by object since the last release, and release it as it runs.",
)
"""The option of commands that compare definitions with what runs."""
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one documented JSON value on standard output.",
)
"""The option for commands that print text or JSON."""
SUMMARY = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="json: one documented JSON value on standard output. markdown: a canary's summary.",
)
"""The option of commands that may release in steps."""
WAIT = click.option(
    "--wait",
    type=click.FloatRange(min=0, max=86_400),
    metavar="SECONDS",
    help="Wait so long until every proxy that the release concerns has it.",
)
"""The option of commands that make a release."""


def reasoned(_context: click.Context, _option: click.Parameter, value: str | None) -> str:
    """The reason that an option was given; "" where it was not.

    Raises:
        click.BadParameter: it is blank.
    """
    if value is not None and not value.strip():
        raise click.BadParameter("it is blank: say why, for whoever reads it in the audit log.")
    return value or ""


TEST_REPORT = click.option(
    "--test-report",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Have the release carry what this report of 'meshwright test --report' says, as evidence.",
)
"""The option of commands that make a release of definitions, or a plan for one."""
BREAK_GLASS = click.option(
    "--break-glass",
    metavar="REASON",
    callback=reasoned,
    help="Pass the guardrails with an administrator's grant, which is used up; REASON is kept.",
)
"""The option of commands that make a release."""
DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path(".meshwright"),
    show_default=True,
    envvar="MESHWRIGHT_DATA_DIR",
    help="Where the control plane keeps its database and the administrator's key.",
)
"""The option that names the folder of a local control plane."""


def targeted(command: Command) -> Command:
    """Add `--stack` and `--mesh` to a command without definitions."""
    return STACK(_MESH(command))


_VERIFICATION = (
    click.option("--xray", is_flag=True, help="Look for the release in the traces of AWS X-Ray."),
    click.option(
        "--cloudwatch", default="", metavar="NAMESPACE", help="Look for it in the metrics of AWS CloudWatch."
    ),
    click.option(
        "--otlp-file",
        default="",
        metavar="FILE",
        help="Look for it in the traces that a collector writes to FILE.",
    ),
    click.option(
        "--otlp", default="", metavar="HOST:PORT", help="Receive traces of OpenTelemetry, and look for it there."
    ),
    click.option(
        "--unsafe-methods",
        is_flag=True,
        help="Probe routes that only calls reach which may change something, too.",
    ),
    click.option(
        "--gateway",
        multiple=True,
        metavar="[NAME=]URL",
        help="Probe through a virtual gateway that answers at URL; may be repeated.",
    ),
    click.option(
        "--probe-from",
        multiple=True,
        metavar="NODE[=ADDRESS]",
        help="Probe as a virtual node: its proxy is on this machine, or takes calls at ADDRESS.",
    ),
    click.option(
        "--allow-unprobed",
        is_flag=True,
        help="Take what could not be looked at for good; it is recorded.",
    ),
    click.option(
        "--endpoints",
        multiple=True,
        metavar="NODE=COUNT",
        help="How many instances of a virtual node there must be; may be repeated [default: 1 where calls go].",
    ),
)


def verification(command: Command) -> Command:
    """Add the options that say what of a release is to be looked at."""
    for add in _VERIFICATION:
        command = add(command)
    return command


_CANARY = (
    click.option("--canary-progress-deadline", type=float, metavar="SECONDS",
                 help="Without anything to judge by for so long, a step is inconclusive [default: 600]."),
    click.option("--canary-lease", type=float, metavar="SECONDS",
                 help="Without a word from this job for so long, the canary is returned [default: 60]."),
    click.option("--canary-shared", type=click.Choice(["inconclusive", "count"]),
                 help="What to make of calls to a target by other routes, where they cannot be told apart"
                 " [default: inconclusive]."),
    click.option("--canary-inconclusive", type=click.Choice(["return", "proceed"]),
                 help="What to do with a step of which too little is reported [default: return]."),
    click.option("--canary-min-requests", type=int, metavar="N",
                 help="Calls to a target without which nothing is judged [default: 10]."),
    click.option("--canary-max-duration", type=float, metavar="MS",
                 help="Within which 99 % of them must be answered; 0 for whatever it takes [default: 500]."),
    click.option("--canary-min-success", type=float, metavar="PERCENT",
                 help="Of the calls to a new target that must not fail [default: 99]."),
    click.option("--canary-threshold", type=int, metavar="N",
                 help="Failed checks with which it is returned [default: 5]."),
    click.option("--canary-iterations", type=int, metavar="N",
                 help="Checks that must pass at each step [default: 1]."),
    click.option("--canary-interval", type=float, metavar="SECONDS", help="Between two checks [default: 60]."),
    click.option("--canary", is_flag=False, flag_value="", metavar="[STEPS]",
                 help="Shift weights in steps, percents of the way: 5,20,50, or 10/50 for every 10 up to 50."
                 " [default: meshwright.yaml's]"),
)  # fmt: skip


def canary(command: Command) -> Command:
    """Add the options that say in which steps weights are shifted, and how these are judged."""
    for add in _CANARY:
        command = add(command)
    return command


def definition_arguments(command: Command) -> Command:
    """Add `PATH…`, `--parameter` and `--mesh` to a command."""
    for add in (
        click.option("--mesh", envvar="MESHWRIGHT_MESH", help="The mesh of definitions that name none."),
        click.option(
            "--parameter",
            "parameters",
            multiple=True,
            metavar="KEY=VALUE",
            help="A value for a template's parameter or ${KEY}; may be repeated.",
        ),
        click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path)),
    ):
        command = add(command)
    return command
