"""What `${…}` stands for in one run: parameters, the build's environment, Parameter Store, files of the repository.

The one rule: a secret is never a value. What holds one is neither read nor decrypted, and every place that asks for
it is told so. In a pull request Parameter Store is not asked at all: nobody has reviewed what would be done with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import msgspec

from meshwright.aws import Access
from meshwright.documents.expressions import Reference, misread, pieces, references
from meshwright.documents.files import read_text
from meshwright.documents.parameter_store import ParameterStore, Unanswered
from meshwright.documents.positions import Placed
from meshwright.documents.secrecy import named_secret, secret_in
from meshwright.errors import UnreadableError, did_you_mean
from meshwright.model.identity import DEFAULT_REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_CHARACTERS = 65_536
"""Of one value, from wherever; a parameter of Parameter Store has 8 KB at most."""
_SHOWN = (
    "A definition is shown by plans, releases and Describe… to whoever may read the mesh, so none may hold a secret"
)
_SPARED = "Give a default (${…:-text}), or choose an environment of meshwright.yaml whose parameters need no secrets"
_EMPTY: Mapping[str, str] = MappingProxyType({})


class Lack(msgspec.Struct, frozen=True):
    """Why an expression has no value, and what to do."""

    told: str
    remedy: str
    kind: Literal["missing", "secret", "withheld", "failed"] = "missing"
    """`withheld`: in a pull request it is not asked for."""


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What a run stands in."""

    environ: Mapping[str, str] = _EMPTY
    """The build's environment."""
    pull_request: str = ""
    """The pull request that this job builds, in words; "" for none."""
    folder: Path = Path()
    """The folder that `${file:…}` is confined to: that of `meshwright.yaml`."""
    access: Access = Access(otherwise=DEFAULT_REGION)
    """As whom and where Parameter Store is asked."""
    secrets: frozenset[str] = frozenset()
    """Names of variables and parameters that are secret, whatever they are called."""
    public: frozenset[str] = frozenset()
    """Names that only look like secrets: of variables, or `ssm:/path` of a `SecureString`."""


class Values:
    """The values of one run, each found out once."""

    def __init__(
        self,
        parameters: Mapping[str, str] = _EMPTY,
        around: Around | None = None,
        paths: Iterable[str] = (),
    ) -> None:
        """`parameters` hold expressions where they are `Placed`; `paths` of Parameter Store give further ones."""
        self._parameters = dict(parameters)
        self._around = around or Around()
        self._paths = tuple(paths)
        self._found: dict[str, str | Lack] = {}
        self._listed: dict[str, Mapping[str, str | Lack]] = {}
        self._store = ParameterStore(self._around.access, lambda name: self._public("ssm", name))

    def give(self, parameters: Mapping[str, str]) -> None:
        """Let `parameters`, which are plain text, beat those that are known."""
        self._parameters.update(parameters)
        self._found.clear()

    def parameters(self) -> tuple[Mapping[str, str], Mapping[str, Lack]]:
        """All parameters that have a value, and why others have none."""
        self.gather(one for one in self._parameters.values() if isinstance(one, Placed))
        names = {name: None for path in reversed(self._paths) for name in self._below(path)} | dict(self._parameters)
        found = {name: self.value(Reference(name, name)) for name in names}
        have = {name: one for name, one in found.items() if isinstance(one, str)}
        return have, {name: one for name, one in found.items() if isinstance(one, Lack)}

    def gather(self, texts: Iterable[str]) -> None:
        """Ask Parameter Store, in few calls, for whatever `texts` will need of it."""
        if not self._around.pull_request:
            wanted = [one.name for text in texts if "${ssm:" in text for one in references(text)]
            self._store.ask(name for name in wanted if name.startswith("/"))

    def value(self, reference: Reference, within: tuple[str, ...] = ()) -> str | Lack:
        """What `reference` stands for; `within` are the parameters that are being worked out, outermost first."""
        found = self._origin(reference, within)
        empty = found == "" or (isinstance(found, Lack) and found.kind in {"missing", "withheld"})
        if empty and reference.default is not None:
            return reference.default
        missing = found == "" or (isinstance(found, Lack) and found.kind == "missing")
        if missing and reference.why is not None:
            return Lack(f"{reference.written} is needed: {reference.why or 'it has no value'}", "Give it a value.")
        return found

    def text(self, text: str, within: tuple[str, ...] = ()) -> str | Lack:
        """`text` with its expressions replaced."""
        if "${" not in text:
            return str(text)
        wrong = misread(text)
        if wrong is not None:
            return _at(text, Lack(f"{wrong[:80]!r} is not understood", MISREAD, "failed"))
        parts = []
        for one in pieces(text):
            part = one if isinstance(one, str) else self.value(one, within)
            if isinstance(part, Lack):
                return _at(text, part)
            parts.append(part)
        whole = "".join(parts)
        if len(whole) > MOST_CHARACTERS:
            return _at(text, Lack(f"a value has over {MOST_CHARACTERS} characters", "Make it shorter.", "failed"))
        return whole

    def _origin(self, reference: Reference, within: tuple[str, ...]) -> str | Lack:
        origins: Mapping[str, Callable[[Reference], str | Lack]] = {
            "env": self._variable,
            "ssm": self._stored,
            "file": self._file,
        }
        if reference.source:
            return origins[reference.source](reference)
        name = reference.name
        # `PORT: ${PORT:-80}` means the build's PORT.
        if name not in within[-1:]:
            if name in within:
                return Lack(
                    f"the parameter {name} is made from itself", "References may not run in a circle.", "failed"
                )
            if name in self._parameters:
                return self._parameter(name, within)
            for path in self._paths:
                below = self._below(path)
                if name in below:
                    return below[name]
        return self._variable(reference)

    def _parameter(self, name: str, within: tuple[str, ...]) -> str | Lack:
        if name in self._around.secrets:
            return Lack(f"the parameter {name} is secret", f"{_SHOWN}.", "secret")
        if name not in self._found:
            text = self._parameters[name]
            self._found[name] = self.text(text, (*within, name)) if isinstance(text, Placed) else text
        return self._found[name]

    def _variable(self, reference: Reference) -> str | Lack:
        name, written = reference.name, reference.written
        secret = name in self._around.secrets or (named_secret(name) and not self._public("", name))
        if secret and (reference.source or name in self._around.environ):
            told = f"the variable {written} holds a secret"
            return Lack(told, f"{_SHOWN}. {_disclosed(name, self._around)}", "secret")
        text = self._around.environ.get(name, "")
        if not text:
            return self._missing(reference)
        if any("\udc80" <= one <= "\udcff" for one in text):
            return Lack(f"the variable {written} is not UTF-8", "Correct it.", "failed")
        return self._harmless(text, f"the variable {written}", name)

    def _missing(self, reference: Reference) -> Lack:
        name, told = reference.name, f"the variable {reference.written} has no value"
        if reference.source:
            return Lack(told, f"Set {name} in the build's environment, or give a default: ${{env:{name}:-text}}.")
        if self._paths and self._around.pull_request:
            asked = ", ".join(self._paths)
            return self._withheld(f"{told}: {asked} of Parameter Store, which may have it, is not asked")
        remedy = f"Give it as --parameter {name}=VALUE or under parameters in meshwright.yaml."
        for path in self._paths:
            failed = self._store.below(path)
            if isinstance(failed, Unanswered):
                return Lack(f"{told}: {failed.told}", failed.remedy, "failed")
        hint = did_you_mean(name, self._parameters, "", cutoff=0.8, sentence=True)
        return Lack(told, f"{hint} {remedy}".strip())

    def _stored(self, reference: Reference) -> str | Lack:
        name = reference.name
        if not name.startswith("/") or name.endswith("/"):
            remedy = "Name one parameter with its whole path, such as ${ssm:/shop/port}."
            return Lack(f"{reference.written} names no parameter of Parameter Store", remedy, "failed")
        if self._around.pull_request:
            return self._withheld(f"{reference.written} is not asked for")
        found = self._store.answer(name)
        if isinstance(found, Unanswered):
            return Lack(found.told, found.remedy, "missing" if found.absent else "failed")
        return self._secure(name) if found.secret else self._harmless(found.text, reference.written, f"ssm:{name}")

    def _secure(self, name: str) -> Lack:
        told = f"{name} of Parameter Store is a SecureString, and so a secret"
        remedy = f"Store it as a String, or list ssm:{name} under public in meshwright.yaml, if it is none."
        return Lack(told, f"{_SHOWN}. {remedy}", "secret")

    def _below(self, path: str) -> Mapping[str, str | Lack]:
        if path not in self._listed:
            found = {} if self._around.pull_request else self._store.below(path)
            self._listed[path] = (
                {}
                if isinstance(found, Unanswered)
                else {
                    name: self._secure(path + name)
                    if one.secret
                    else self._harmless(one.text, path + name, f"ssm:{path}{name}")
                    for name, one in found.items()
                }
            )
        return self._listed[path]

    def _file(self, reference: Reference) -> str | Lack:
        written, path = reference.written, Path(reference.name)
        if path.is_absolute() or ".." in path.parts:
            remedy = f"Name it from {self._around.folder}, without '..': only the repository's files are read."
            return Lack(f"{written} lies outside of the repository", remedy, "failed")
        whole, folder = Path(os.path.realpath(self._around.folder / path)), os.path.realpath(self._around.folder)
        if not whole.is_relative_to(folder):
            told = f"{written} leads out of the repository by a link"
            return Lack(told, "Put the file itself there.", "failed")
        if any(part.startswith(".") for part in (*path.parts, *whole.relative_to(folder).parts)):
            told = f"{written} is hidden, as files with credentials are"
            return Lack(told, "Name a file whose name, and whose folders', begin without a dot.", "failed")
        if not whole.is_file():
            told = f"{written} is no file of {self._around.folder}"
            return Lack(told, "Let an earlier step of the build write it, or give a default.")
        try:
            large = whole.stat().st_size > MOST_CHARACTERS
            text, fault = ("", None) if large else read_text(whole)
        except (OSError, UnreadableError) as error:
            return Lack(f"{written} cannot be read: {error}", "Make it readable.", "failed")
        if large or fault is not None:
            told = f"the file has over {MOST_CHARACTERS} bytes" if fault is None else fault.summary
            return Lack(f"{written} gives no value: {told}", "Name a small file of text.", "failed")
        return self._harmless(text.removesuffix("\n").removesuffix("\r"), written, f"file:{reference.name}")

    def _harmless(self, text: str, what: str, name: str) -> str | Lack:
        found = secret_in(text)
        if found and name not in self._around.public:
            return Lack(
                f"{what} holds {found}",
                f"{_SHOWN}. List {name} under public in meshwright.yaml if it is none.",
                "secret",
            )
        return text

    def _public(self, source: str, name: str) -> bool:
        return (f"{source}:{name}" if source else name) in self._around.public

    def _withheld(self, told: str) -> Lack:
        return Lack(f"{told} in {self._around.pull_request}", f"{_SPARED}.", "withheld")


MISREAD = (
    "Write ${NAME}, ${env:NAME}, ${ssm:/path} or ${file:path}, with a default as ${…:-text}; $${ is the text ${."
)
"""What to do about an expression that is none."""


def _disclosed(name: str, around: Around) -> str:
    if name in around.secrets:
        return "It is listed under secrets in meshwright.yaml."
    return f"List {name} under public in meshwright.yaml if it only sounds like one."


def _at(text: str, lack: Lack) -> Lack:
    """`lack` with the place of `text` in the project file, where that is known and not told yet."""
    if not isinstance(text, Placed) or " (at " in lack.told:
        return lack
    return msgspec.structs.replace(lack, told=f"{lack.told} (at {text.source})")
