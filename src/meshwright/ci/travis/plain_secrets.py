"""Finds secrets that stand in a `.travis.yml` as plain text, and values that bash would take apart.

The one rule: no message repeats a value; it says where it stands and how long it is.

Source: https://docs.travis-ci.com/user/best-practices-security
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from meshwright.ci.travis.shell_words import assignments
from meshwright.diagnostics import Severity

if TYPE_CHECKING:
    from meshwright.ci.travis.shapes import Leaf, Leaves
    from meshwright.documents.findings import Findings

PLAIN_SECRET = "MW856"  # noqa: S105 - a rule's code
UNQUOTED_VALUE = "MW857"

_FORMATS = {
    "a GitHub token": r"\bgh[opusr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{22,}",
    "a GitLab token": r"\bglpat-[\w-]{20,}",
    "a Slack token": r"\bxox[abeprs]-[\w-]{10,}",
    "an npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "a PyPI token": r"\bpypi-AgE[\w-]{50,}",
    "a Google key": r"\bAIza[\w-]{35}\b",
    "a Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{16,}",
    "a SendGrid key": r"\bSG\.[\w-]{16,}\.[\w-]{16,}",
    "a Vault token": r"\bhv[sb]\.[\w-]{24,}",
    "a signed token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY",
}
_LONG_LIVED = re.compile(r"\bAKIA[0-9A-Z]{16}\b")
_KNOWN = {name: re.compile(pattern) for name, pattern in _FORMATS.items()}
_SECRET_NAME = re.compile(
    r"(?:^|_|[a-z](?=[A-Z]))(?:PASSWORD|PASSWD|PASSPHRASE|PASS|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|"
    r"SECRET_?KEY|AUTH_?KEY|CREDENTIALS?)(?:_\d+)?$",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(
    r"(?:[/.~][\w./~-]*|[a-z]{1,11}|\d{1,5}|true|false|.*(?:example|dummy|fake|changeme|placeholder|xxx|test).*|\*+|-+)",
    re.IGNORECASE,
)
_STRONG = re.compile(r"(?=.*\d)(?=.*[A-Za-z])\S{12,}|\S{20,}")
_NAMES_OF_USERS = frozenset({"username", "user", "email"})
_PAIR = re.compile(r"[\w.-]+:[A-Za-z0-9]{16,}(?:#\S+)?")
_BREAKS = re.compile(r"[&;|<>`]")
_COMPUTED = re.compile(r"\$\([^)]*\)|\$\{[^}]*\}")
_REMEDY = (
    "Whoever reads the repository reads it, and so does every log. Put it into the repository's settings, or make a "
    "secure value of it with 'meshwright travis encrypt', and take the one that stood here out of use."
)


def plain_secrets(leaves: Leaves, found: Findings, file: str) -> None:
    """Report what is secret and stands there for all to read."""
    for leaf in leaves:
        told = _judged(leaf)
        if told:
            summary, severity = told
            found.add(PLAIN_SECRET, file, leaf.place, summary, _REMEDY, severity=severity, path=leaf.path)


def unquoted_values(leaves: Leaves, found: Findings, file: str) -> None:
    """Report assignments of which bash would take a part for something else."""
    for leaf in leaves:
        if leaf.kind != "assignments" or not isinstance(leaf.value, str):
            continue
        for name, value, quoted in assignments(leaf.value):
            if not name:
                told = f"{leaf.path} holds a word that assigns nothing, of {len(value)} characters"
                detail = (
                    "Bash ends a value at a space: quote the value, as in NAME='one two', or write NAME: one two."
                )
                found.add(UNQUOTED_VALUE, file, leaf.place, told, detail, path=leaf.path)
            elif not quoted and _BREAKS.search(_COMPUTED.sub("", value)) and not _is_partly_quoted(value):
                told = f"the value of {name} holds a character that bash takes for itself, and has no quotes"
                detail = f"Write {name}='…'; bash ends the command, or writes to a file, at such a character."
                found.add(UNQUOTED_VALUE, file, leaf.place, told, detail, severity=Severity.WARNING, path=leaf.path)


def _is_partly_quoted(value: str) -> bool:
    return '"' in value or "'" in value


def _judged(leaf: Leaf) -> tuple[str, Severity] | None:
    text = leaf.value if isinstance(leaf.value, str) else str(leaf.value) if leaf.kind == "secret" else ""
    kind = next((name for name, pattern in _KNOWN.items() if pattern.search(text)), None)
    if kind is not None:
        return f"{leaf.path} holds {kind} in plain text", Severity.ERROR
    if leaf.kind == "secret":
        return _expected(leaf, text)
    if leaf.kind == "instead" and leaf.name in {"slack", "hipchat", "campfire"} and _PAIR.fullmatch(text):
        return f"{leaf.path} holds a token in plain text", Severity.ERROR
    named = [(leaf.name, text)] if leaf.kind == "variable" else []
    if leaf.kind == "assignments":
        named = [(name, value) for name, value, _ in assignments(text) if name]
    judged = [(name, _strength(name, value)) for name, value in named]
    worst = min(((grade, name) for name, grade in judged if grade), default=None, key=lambda one: one[0].rank)
    if worst is None:
        named_key = f"{leaf.path} names an AWS access key that does not expire"
        return (named_key, Severity.INFO) if _LONG_LIVED.search(text) else None
    return f"{leaf.path} sets {worst[1]}, by its name a secret, in plain text", worst[0]


def _expected(leaf: Leaf, text: str) -> tuple[str, Severity] | None:
    """A plain value where Travis wants an encrypted one."""
    if "$" in text or not text or isinstance(leaf.value, bool) or leaf.name in _NAMES_OF_USERS:
        return None
    return f"{leaf.path} is a secret, and stands there in plain text, {len(text)} characters long", Severity.ERROR


def _strength(name: str, value: str) -> Severity | None:
    if not _SECRET_NAME.search(name) or "$" in value or not value or _NO_SECRET.fullmatch(value):
        return None
    return Severity.ERROR if _STRONG.fullmatch(value) else Severity.WARNING
