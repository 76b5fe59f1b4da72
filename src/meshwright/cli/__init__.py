"""The command line: arguments → operation → view → exit code, one file a command.

Commands are imported when they are called, so that a command without network starts in tens of milliseconds.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
from typing import Any, TextIO

import click

from meshwright.errors import MeshwrightError, did_you_mean

_COMMANDS = {
    "demo": "The whole story on this machine: control plane, real Envoys, a build, a bad build, a rollback.",
    "validate": "Check definitions: fields, limits, references, rules. Exit 1 when something is found.",
    "test": "Run a mesh on real Envoys and test that it does what its definitions say.",
    "graph": "Print the dependency graph of definitions, or of what really happens.",
    "route": "Say where a call would go and why, by definitions alone.",
    "plan": "Show what applying definitions would change, whom it reaches and what is risky in it.",
    "apply": "Apply definitions as one release of this stack.",
    "status": "Show the server, the connected proxies and what each has taken.",
    "endpoints": "Show the endpoints that Cloud Map and the proxies told, and what could not be looked up.",
    "wait": "Wait until every proxy that a release concerns has it.",
    "verify": "Verify that a release is good, and keep the evidence with it.",
    "promote": "Release in one environment what is verified in another.",
    "history": "List this stack's releases, newest first.",
    "pending": "List the releases of this stack that wait for somebody's approval, or did.",
    "approve": "Let a release through that waits, as somebody else than its author.",
    "withdraw": "Let a release wait no longer.",
    "guardrails": "Show the rules on plans; let somebody pass them once.",
    "drift": "Show where the running state differs from the stack's last release, and who changed what.",
    "rollback": "Restore an older release of this stack, as a new release.",
    "serve": "Run the control plane: the App Mesh API, releases and xDS, until SIGTERM or Ctrl-C.",
    "proxy": "Run the packaged Envoy for one virtual node or gateway.",
    "trust": "Who may do what: check and explain a trust file, access keys, sessions.",
    "audit": "Verify, export and publish the audit log.",
    "travis": "Let Travis CI govern a mesh: its configuration file, secrets for it, identities for its jobs.",
    "rules": "List the rules that validate applies, or explain one.",
}
"""Every command and its line in `meshwright --help`; the module `meshwright.cli.NAME` holds `command`."""


class _LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"meshwright.cli.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"meshwright.cli.{cmd_name}.command is not a click command")
        # Help with tables is written raw, in which the mark of lines that are to be kept is two characters.
        command.help = (command.help or "").replace("\\b\n", "\b\n")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands from the table, without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Add "did you mean" to click's own error."""
        name = args[0] if args else ""
        if name and name not in _COMMANDS and not name.startswith("-"):
            hint = did_you_mean(name, _COMMANDS, "See 'meshwright --help'.", sentence=True)
            ctx.fail(f"No such command {name!r}. {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--environment", envvar="MESHWRIGHT_ENVIRONMENT", help="Environment of meshwright.yaml to use.")
@click.option("--endpoint", envvar="MESHWRIGHT_ENDPOINT", help="Control plane, such as http://127.0.0.1:9080.")
@click.option("--ca-bundle", envvar="AWS_CA_BUNDLE", help="Certificates to trust the control plane by, in PEM.")
@click.option(
    "--config",
    envvar="MESHWRIGHT_CONFIG",
    help="Project file [default: meshwright.yaml here, else the nearest to PATH].",
)
@click.option("--quiet", is_flag=True, help="No progress, only results and errors.")
@click.option("--verbose", is_flag=True, help="More progress; a traceback on an internal error.")
@click.version_option(package_name="meshwright")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Meshwright: App Mesh definitions, self-hosted, driven by your CI builds.

    Exit codes: 0 clean, 1 found something or refused, 2 could not do it.
    """
    ctx.obj = options


def main() -> None:
    """Run the command line and leave with its exit code; output is UTF-8 whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = _called()
    except click.exceptions.Abort:
        click.echo("Interrupted.", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except MeshwrightError as error:
        click.echo(f"{_findings(error)}Error: {_harmless(error)}", err=True)
        code = error.exit_code
    except Exception as error:
        if "--verbose" in sys.argv:
            raise
        click.echo(f"Error: {_unforeseen(error)}", err=True)
        _abandon(sys.stdout)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _called() -> Any:
    """Run the command; 141, as shells say it, when the reader of a pipe has gone."""
    given = sys.stdout
    try:
        code = cli.main(standalone_mode=False)
        if given is not None:
            given.flush()
    except BrokenPipeError:
        _abandon(sys.stdout, sys.stderr)
        return 141
    except SystemExit as ended:
        # click replaces the stream and ends by itself, with 1, which would mean that something was found.
        return 141 if sys.stdout is not given else ended.code
    return code


def _abandon(*streams: TextIO | None) -> None:
    """Let what is left in the buffers go nowhere: it cannot be written, and Python would try again on its way out."""
    for stream in streams:
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _unforeseen(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The output cannot be written: no space is left on the device."
    told = f"internal error: {type(error).__name__}: {_harmless(error)}. This is a bug in Meshwright"
    return f"{told}; run again with --verbose for the traceback."


def _findings(error: MeshwrightError) -> str:
    """What the server holds against a release, as `validate` would print it."""
    from meshwright.cli.terminal import shows_colour
    from meshwright.release.refusal import InvalidReleaseError
    from meshwright.views import text
    from meshwright.views.diagnostics import report

    if not isinstance(error, InvalidReleaseError) or not error.diagnostics:
        return ""
    told = report({one.subject for one in error.diagnostics}, error.diagnostics)
    return text.render(told, colour=shows_colour(sys.stderr))


def _harmless(error: Exception) -> str:
    """The message, whose lines may quote files and servers, without what could steer a terminal."""
    from meshwright.views.escaping import terminal  # only on the way to an error

    return "\n".join(map(terminal, str(error).split("\n")))
