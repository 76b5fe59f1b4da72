"""What commands of a job do, as far as their text tells it, and how bash reads assignments.

The one rule: a command is recognised by its own words, and what stands in comments or messages does not count.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BEFORE = r"^|[;&|(]|\s--(?=\s)|\bthen\b|\belse\b|\bdo\b|\bsudo\b|\btravis_retry\b|\btravis_wait(?: \d+)?\b|\$\("
_WORD = rf"(?:{_BEFORE})\s*(?:\w+=\S*\s+)*"
"""Where a command begins."""
_OPTIONS = r"(?:\s+-[^\s]+(?:[ =](?!-)[^\s]+)?)*?"
_OURS = re.compile(
    rf"{_WORD}(?:python\S*\s+-m\s+)?(?:\S*/)?meshwright(?:\.cli)?{_OPTIONS}\s+"
    r"(apply|promote|rollback|approve|withdraw|verify|drift\b[^;&|]*--repair)\b",
    re.MULTILINE,
)
_PUBLISHING = tuple(
    re.compile(f"{_WORD}({pattern})", re.MULTILINE)
    for pattern in (
        r"(?:\S*/)?aws\s+(?:\S+\s+)*?(?:cloudformation\s+(?:deploy|create-stack|update-stack)|s3\s+sync\s+\S+\s+s3://)",
        r"(?:\S*/)?aws\s+(?:\S+\s+)*?(?:ecs\s+update-service|lambda\s+update-function-code)",
        r"(?:\S*/)?aws\s+(?:\S+\s+)*?appmesh\s+(?:create|update|delete)-\S+",
        r"kubectl\s+(?:\S+\s+)*?(?:apply|set\s+image|rollout\s+restart)\b",
        r"helm\s+(?:\S+\s+)*?(?:upgrade|install)\b",
        r"terraform\s+(?:\S+\s+)*?apply\b",
        r"docker\s+(?:image\s+)?push\b",
        r"(?:npm|yarn|cargo|poetry|lerna)\s+publish\b",
        r"(?:python\S*\s+-m\s+)?twine\s+upload\b",
        r"gem\s+push\b",
        r"git\s+push\b",
        r"(?:npx\s+)?(?:semantic-release|serverless\s+deploy|sls\s+deploy)\b",
        r"(?:npm\s+run|yarn(?:\s+run)?|make|rake|gulp|grunt)\s+(?:deploy|release|publish)\b",
        r"(?:(?:ba)?sh\s+|\./|source\s+|\.\s+)?(?:[\w./-]*/)?(?:deploy|publish|release)(?:\.sh|\.py|\.rb)?(?=[\s;&|)]|$)",
    )
)
_GUARD = re.compile(r"TRAVIS_PULL_REQUEST\b|TRAVIS_EVENT_TYPE\b|TRAVIS_SECURE_ENV_VARS\b|TRAVIS_TAG\b")
_HISTORY = re.compile(
    rf"{_WORD}(?:.*\$\()?\s*(git\s+(?:describe\b(?![^;&|]*--always)|rev-list\b[^;&|]*--count|merge-base\b|shortlog\b))",
    re.MULTILINE,
)
_FETCHED = re.compile(r"git\s+fetch\b[^;&|]*(?:--unshallow|--tags|--depth)")
_SLEEP = re.compile(rf"{_WORD}sleep\s+(\d+(?:\.\d+)?)([smhd]?)\b", re.MULTILINE)
_WAITING = re.compile(rf"{_WORD}(?:\S*/)?aws\s+(\S+)\s+(?:\S+\s+)*?wait\s+(\S+)", re.MULTILINE)
_QUIET = re.compile(
    rf"{_WORD}(?:\S*/)?meshwright\b(?=[^;&|]*\s--quiet\b)[^;&|]*\s--(?:wait|timeout)[ =](\d+)", re.MULTILINE
)
_WRAPPED = re.compile(r"\btravis_wait\b")
_ENCRYPTED_FILE = re.compile(r"\bopenssl\s+(?:enc\s+)?-?aes-256-cbc\b[^;&|]*\$\{?(encrypted_\w+_key)")
_COMMENT = re.compile(r"(?:^|(?<=\s))#[^\n]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


_LONGEST = 20_000
"""Characters of one command that are looked at."""


def bare(text: str) -> str:
    """A command without its comments."""
    return _COMMENT.sub("", text[:_LONGEST])


def ours(text: str) -> str:
    """The command of ours that changes something, or needs the rights to; "" where there is none."""
    match = _OURS.search(bare(text))
    return f"meshwright {match[1].split()[0]}" if match else ""


def publishes(text: str) -> str:
    """The part of a command that publishes or deploys something, as far as one can tell; "" where there is none."""
    for pattern in _PUBLISHING:
        match = pattern.search(bare(text))
        if match:
            return match[1]
    return ""


def is_guarded(text: str) -> bool:
    """Whether a command asks what kind of build it is in."""
    return bool(_GUARD.search(text))


def needs_history(text: str) -> str:
    """The part of a command that reads commits or tags which a shallow clone lacks; "" where there is none."""
    match = _HISTORY.search(bare(text))
    return match[1] if match else ""


def fetches_history(text: str) -> bool:
    """Whether a command gets what a shallow clone lacks."""
    return bool(_FETCHED.search(bare(text)))


def silence(text: str) -> tuple[str, float]:
    """The part of a command that prints nothing for long, and for how many seconds, 0 where that is not so."""
    plain = bare(text)
    if _WRAPPED.search(plain):
        return "", 0
    longest = max(_SLEEP.finditer(plain), key=lambda one: _seconds(one[1], one[2]), default=None)
    if longest is not None:
        return f"sleep {longest[1]}{longest[2]}", _seconds(longest[1], longest[2])
    quiet = _QUIET.search(plain)
    if quiet is not None:
        return "meshwright --quiet", float(quiet[1])
    waiting = _WAITING.search(plain)
    if waiting is not None:
        # Sixty looks, thirty seconds apart, for most of them; up to an hour for stacks.
        return f"aws {waiting[1]} wait {waiting[2]}", 1800
    return "", 0


def encrypted_file(text: str) -> str:
    """The variable of the key with which a command decrypts a file of the repository; "" where none does."""
    match = _ENCRYPTED_FILE.search(bare(text))
    return match[1] if match else ""


def _seconds(number: str, unit: str) -> float:
    return float(number) * _UNITS[unit]


def assignments(text: str) -> Iterator[tuple[str, str, bool]]:
    """The words of `A=1 B="two"`: name, value, whether quoted; the name is "" for a word that assigns nothing."""
    for word in words(text):
        match = _ASSIGNMENT.match(word)
        if match is None:
            yield "", word, False
            continue
        value = word[match.end() :]
        quoted = value[:1] in {"'", '"'} and value[-1:] == value[:1] and len(value) > 1
        yield match[0][:-1], value[1:-1] if quoted else value, quoted


def words(text: str) -> Iterator[str]:
    """`text` in the words that bash makes of it, quotes left where they are; what is open at the end ends there."""
    word, quote, depth, at = "", "", 0, 0
    while at < len(text):
        char = text[at]
        if char == "\\" and quote != "'":
            word += text[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"`":
            quote = char
        elif char == "(" and word.endswith("$"):
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif char.isspace() and not depth:
            if word:
                yield word
            word, at = "", at + 1
            continue
        word += char
        at += 1
    if word:
        yield word
