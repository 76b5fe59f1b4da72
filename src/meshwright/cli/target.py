"""Which control plane, mesh and stack a command is about, and what it may sign with.

The one rule: flags beat `MESHWRIGHT_*` variables, which beat `meshwright.yaml`, which beats AWS's own settings.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from meshwright.cli.definitions import project, refuse_bytes
from meshwright.documents.settings import FILE_NAME, Project
from meshwright.errors import UsageError
from meshwright.model.identity import DEFAULT_REGION
from meshwright.remote import Client, Identity, find_signer, refuse_user_info
from meshwright.remote.credentials import DATA_FOLDER
from meshwright.views.escaping import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_ENDPOINT = "http://127.0.0.1:9080"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a command is about; mesh and stack may be left to the definitions or not be needed."""

    project: Project
    endpoint: str
    region: str
    mesh: str | None
    stack: str | None
    quiet: bool = False
    ca_bundle: str = ""
    """The file of certificates to trust; "" for the machine's."""

    def client(self, environ: Mapping[str, str] = os.environ) -> Client:
        """A client with the credentials that `environ` and this machine offer.

        Raises:
            UsageError: there are none, or the endpoint is no address.
        """
        signer = find_signer(environ, self.endpoint, data_folder(environ), self.ca_bundle, self.identity())
        return Client(self.endpoint, signer, region=self.region, ca_bundle=self.ca_bundle)

    def identity(self) -> Identity:
        """As whom the control plane is asked, as far as the project says it.

        Raises:
            UsageError: the account has no value.
        """
        chosen = self.project
        return Identity(
            account=chosen.text("account") or "",
            role=chosen.role or "",
            token_file=chosen.token_file,
            profile=chosen.profile or "",
            apart=chosen.environment is not None and self.endpoint == chosen.text("endpoint"),
        )

    def place(self) -> tuple[str, str]:
        """Mesh and stack.

        Raises:
            UsageError: one of them is not known.
        """
        return self.meshed(), self.owner()

    def meshed(self) -> str:
        """The mesh.

        Raises:
            UsageError: it is not known.
        """
        if self.mesh is None:
            raise UsageError(
                f"Which mesh? Name it with --mesh or MESHWRIGHT_MESH, or in {FILE_NAME} (mesh:).{self._hint()}"
            )
        return self.mesh

    def owner(self) -> str:
        """The stack.

        Raises:
            UsageError: it is not known.
        """
        if self.stack is None:
            raise UsageError(f"Which stack? Name it with --stack or MESHWRIGHT_STACK, or in {FILE_NAME} (stack:).")
        return self.stack

    def say(self, text: str) -> None:
        """Progress and prose: to standard error, unless told to be quiet."""
        if not self.quiet:
            click.echo(terminal(text), err=True)

    def _hint(self) -> str:
        known = [] if self.project.environment else list(self.project.environments)
        return f" Or choose an environment with --environment: {', '.join(known)}." if known else ""


def resolve(
    options: Mapping[str, Any],
    *,
    mesh: str | None = None,
    stack: str | None = None,
    paths: Sequence[Path] = (),
    parameters: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> Target:
    """The target that the global `options` and the command's own name; `paths` may lie in the project that holds.

    Raises:
        UsageError: the configuration cannot mean anything.
    """
    chosen = project(options, paths, parameters)
    mesh, stack = mesh or environ.get("MESHWRIGHT_MESH"), stack or environ.get("MESHWRIGHT_STACK")
    for name, given in (("--mesh", mesh), ("--stack", stack)):
        refuse_bytes(name, given or "")
    return Target(
        project=chosen,
        endpoint=endpoint(options.get("endpoint") or chosen.text("endpoint"), environ),
        region=region(chosen.text("region"), environ),
        mesh=mesh or chosen.text("mesh"),
        stack=stack or chosen.stack,
        quiet=bool(options.get("quiet")),
        ca_bundle=options.get("ca_bundle") or "",
    )


def endpoint(told: str | None, environ: Mapping[str, str]) -> str:
    """The control plane that was told, else AWS's setting, else the one on this machine.

    Raises:
        UsageError: it holds a user or a password.
    """
    return refuse_user_info(told or environ.get("AWS_ENDPOINT_URL_APP_MESH") or DEFAULT_ENDPOINT)


def region(told: str | None, environ: Mapping[str, str]) -> str:
    """The region that was told, else AWS's setting, else that of `serve`."""
    return told or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION


def data_folder(environ: Mapping[str, str]) -> Path:
    """Where a control plane on this machine keeps its data."""
    return Path(environ.get("MESHWRIGHT_DATA_DIR") or DATA_FOLDER)


def release_number(text: str, stack: str) -> int:
    """The number in `12`, `#12` or `shop#12`.

    Raises:
        UsageError: `text` is none of them, or is of another stack.
    """
    name, _, number = text.rpartition("#")
    if not (number.isascii() and number.isdecimal()) or len(number) > 15 or int(number) < 1:
        raise UsageError(f"{text!r} is no release; write its number, such as 12 or {stack}#12.")
    if name not in {"", stack}:
        raise UsageError(f"{text!r} is a release of stack {name!r}, but the command is about {stack!r}; use --stack.")
    return int(number)


def pending_place(target: Target, text: str) -> tuple[str, str, int]:
    """The mesh, the stack and the number of a pending release: `3`, `pending-3` or `shop#pending-3`.

    Raises:
        UsageError: `text` is none of them, is of another stack, or mesh or stack are not known.
    """
    mesh, stack = target.place()
    name, _, rest = text.rpartition("#")
    number = rest.removeprefix("pending-")
    if not (number.isascii() and number.isdecimal()) or len(number) > 15 or int(number) < 1:
        raise UsageError(f"{text!r} is no pending release; write it as 'meshwright pending' does: {stack}#pending-3.")
    if name not in {"", stack}:
        raise UsageError(f"{text!r} is of stack {name!r}, but the command is about {stack!r}; use --stack.")
    return mesh, stack, int(number)
