"""`meshwright route`: files → state → graph → a verdict on one call, without any Envoy.

The one rule: what it says of a call is what real Envoys do with it; a property test compares the two.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshwright.cli.options import FORMAT
from meshwright.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from meshwright.graph import Graph
    from meshwright.model.identity import Key

_METHOD = re.compile(r"[A-Z]{1,20}(-[A-Z]{1,20})?")
"""Any, as PURGE; what is there by that name is a path."""


@click.command("route")
@click.argument("words", nargs=-1, required=True, metavar="[PATH]... [METHOD] URL")
@click.option("--from", "caller", required=True, metavar="NODE",
              help="Who makes the call: a virtual node, or the virtual gateway that gets it.")  # fmt: skip
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE",
              help="A header, in gRPC metadata; may be repeated. Host: instead of the URL's.")  # fmt: skip
@click.option("--http2", is_flag=True, help="Call over HTTP/2 instead of HTTP/1.1.")
@click.option("--parameter", "parameters", multiple=True, metavar="KEY=VALUE",
              help="A value for a template's parameter or ${KEY}; may be repeated.")  # fmt: skip
@click.option("--mesh", envvar="MESHWRIGHT_MESH", help="The mesh of definitions that name none.")
@FORMAT
@click.pass_obj
def command(
    options: dict[str, Any],
    /,
    *,
    words: tuple[str, ...],
    caller: str,
    headers: tuple[str, ...],
    http2: bool,
    parameters: tuple[str, ...],
    mesh: str | None,
    form: str,
) -> int:
    r"""Say where a call would go and why, by definitions alone.

    It shows the route that takes the call, its targets with their shares, TLS, limits of time, retries, and what
    extensions do; and for every other route each condition that the call does not meet, with file and line. PATH is
    what `meshwright validate` takes. METHOD is GET unless given.

    \b
    URL is  http://HOST[:PORT]/PATH, https://...       HTTP; https where the caller itself encrypts
            http2://HOST:PORT/PATH                     HTTP/2, as with --http2
            grpc://HOST:PORT/SERVICE/METHOD            gRPC, or grpcs://
            tcp://HOST:PORT                            TCP, or tls:// with the HOST in the greeting

    HOST is the virtual service as the caller writes it; PORT is where it connects.

    Exit codes: 0 it gets to virtual nodes, or outside as the mesh allows; 1 it does not, or a proxy answers with an
    error, or some definitions have errors and are left out; 2 a path cannot be read, or no such caller is there.
    """
    from meshwright.cli.definitions import loaded, project
    from meshwright.cli.terminal import shows_colour
    from meshwright.diagnostics import Severity
    from meshwright.graph import resolve
    from meshwright.simulate import call_of, route
    from meshwright.views import verdicts
    from meshwright.views.diagnostics import counted

    *paths, url = words
    method = paths.pop() if paths and _METHOD.fullmatch(paths[-1]) and not Path(paths[-1]).exists() else "GET"
    call = call_of(url, method, map(_header, headers), http2=http2)
    given = tuple(map(Path, paths))
    read = loaded(project(options, given), given, parameters, mesh)
    graph = resolve(read.state)
    found = route(graph, found_caller(graph, caller), call, time.time_ns() // 1_000_000)
    text = verdicts.as_json(found, read.sources.find)
    if form == "text":
        text = verdicts.render(found, read.sources.find, colour=shows_colour(sys.stdout))
    sys.stdout.write(text)
    errors = sum(one.severity is Severity.ERROR for one in read.diagnostics)
    if errors:
        click.echo(f"{counted(errors, 'error')} in these files; 'meshwright validate' shows them.", err=True)
    return int(errors > 0 or not found.succeeds)


def found_caller(graph: Graph, name: str) -> Key:
    """The virtual node or gateway that `--from` names, by its name or as `mesh/MESH/virtualNode/NAME`.

    Raises:
        UsageError: there is none, or more than one.
    """
    from meshwright.model.identity import Kind

    known = [one.key for one in graph.state if one.key.kind in {Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY}]
    found = [key for key in known if name in {key.name, key.path}]
    if not found:
        hint = did_you_mean(name, [key.name for key in known], "'meshwright graph' shows them.", sentence=True)
        raise UsageError(f"--from {name!r}: these definitions have no such virtual node or virtual gateway. {hint}")
    if len(found) > 1:
        raise UsageError(f"--from {name!r} may be {' or '.join(key.path for key in found)}; say which.")
    return found[0]


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--header {text!r} is not NAME:VALUE")
    return name.strip(), value.strip()
