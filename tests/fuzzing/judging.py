"""What must be true of an answer, whatever was asked: the oracles.

The one rule: an answer is judged by the published model, by the database, and by what is known of the request; never
by what the server is known to do.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from botocore.validate import ParamValidator

from fuzzing import values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fuzzing.requests import Case
    from wire_client import Answer

STATED = frozenset({"NotFoundException", "ConflictException", "ResourceInUseException", "LimitExceededException"})
"""Errors that tell of other objects, never of a request's form."""
UNKNOWN = frozenset(
    {
        "MissingAuthenticationTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "UnrecognizedClientException",
        "ExpiredTokenException",
        "SignatureDoesNotMatch",
        "RequestExpired",
    }
)
"""Errors of who is asking; nothing else is told to a stranger but that the request is no request."""
_FORM = re.compile(r"failed to satisfy constraint: (?!Exactly one of|.* has an @)", re.DOTALL)
"""What is said of a member that does not fit. That exactly one of some must be set is a rule of the service's own,
and that no name has an @ one of ours: it tells a mesh's owner."""
NARROW = frozenset(
    f"{start}{kind}/{name}"
    for start in ("m0/", "arn:aws:appmesh:us-east-1:000000000000:mesh/m0/")
    for kind, name in (("VirtualNode", "n0"), ("virtualNode", "n0"), ("VirtualRouter", "r0"), ("virtualRouter", "r0"))
)
"""All that the role `narrow` may change, see `TRUST` in `fuzzing.running`."""
_READS = ("Describe", "List")
_OURS = ("get_", "list_")
_VALIDATOR = ParamValidator()

_FOR_STRANGERS = b"/meshwright/v1/travis/"
"""Where jobs ask for an identity, which they do not have yet."""


def faults(case: Case, answer: Answer | None, changed: Mapping[str, int], revisions: int) -> list[str]:
    """What is wrong with the answer to `case`: one line each, none when all is well.

    Args:
        case: what was asked.
        answer: what came, None when the connection ended without.
        changed: by how many rows each table of the database grew, of those that changed.
        revisions: how many revisions were made.
    """
    if answer is None:
        return [] if case.loose and not changed else [f"no answer, and changed {dict(changed)}"]
    return [*answer_faults(case, answer), *_state_faults(case, answer, changed, revisions)]


def answer_faults(case: Case, answer: Answer) -> list[str]:
    """What is wrong with the answer alone, whatever became of the database."""
    return [*_form_faults(case, answer), *_verdict_faults(case, answer)]


def revisions_of(case: Case, answer: Answer) -> tuple[int, int]:
    """How many revisions the answer may tell of: at least, at most."""
    if answer.status >= 400 or case.operation.startswith((*_READS, *_OURS)):
        return 0, 0
    if case.operation not in values.operations():
        return 0, 1
    return (0 if case.token or "tag" in case.operation.lower() else 1), 1


def _form_faults(case: Case, answer: Answer) -> Iterator[str]:
    """The protocol's own."""
    if answer.status >= 500:
        yield f"answered {answer.status} {answer.code}: {answer.body[:300]!r}"
    if case.method == "HEAD":
        return
    if case.path == b"/" and case.service == "sts" and not case.loose:
        yield from _xml_faults(answer)
    elif answer.status >= 400:
        yield from _error_faults(answer)
    elif answer.status == 200 and case.operation in values.operations():
        yield from _shape_faults(case, answer)
    elif answer.status < 200 or (answer.status >= 300 and not case.loose):
        yield f"answered {answer.status}"


def _error_faults(answer: Answer) -> Iterator[str]:
    try:
        body = answer.document
    except ValueError:
        body = None
    if not (isinstance(body, dict) and isinstance(body.get("message"), str) and body["message"]):
        yield f"an error without a message: {answer.status} {answer.body[:200]!r}"
    if not re.fullmatch(r"[A-Za-z]+", answer.code):
        yield f"an error without its name in x-amzn-ErrorType: {answer.status} {answer.code!r} {answer.body[:200]!r}"
    if len(answer.body) > 100_000:
        yield f"an error of {len(answer.body)} bytes"


def _xml_faults(answer: Answer) -> Iterator[str]:
    try:
        root = ET.fromstring(answer.body)  # noqa: S314 - our own server's answer
    except ET.ParseError as error:
        yield f"no XML: {error}: {answer.body[:200]!r}"
        return
    if answer.status >= 400 and root.find("{*}Error/{*}Code") is None:
        yield f"an error of STS without a code: {answer.body[:200]!r}"


def _shape_faults(case: Case, answer: Answer) -> Iterator[str]:
    shape = values.operations()[case.operation].output_shape
    payload = shape.serialization.get("payload")
    try:
        body = json.loads(answer.body)
    except ValueError as error:
        yield f"no JSON: {error}"
        return
    body = {name: value for name, value in body.items() if value is not None}
    report = _VALIDATOR.validate(body, shape.members[payload] if payload else shape)
    if report.has_errors():
        yield f"not of the published shape: {report.generate_report()[:300]}"


def _state_faults(case: Case, answer: Answer, changed: Mapping[str, int], revisions: int) -> Iterator[str]:
    """A refused request and a read change nothing; an accepted write is one revision with its leaf."""
    if answer.status >= 400:
        if changed:
            yield f"refused with {answer.status} {answer.code}, and changed {dict(changed)}"
        return
    if case.operation.startswith(_READS):
        if changed:
            yield f"a read changed {dict(changed)}"
        return
    least, most = revisions_of(case, answer)
    if not least <= revisions <= most:
        yield f"accepted as {revisions} revisions: {answer.body[:200]!r}"
    if revisions == 1 and changed.get("leaves", 1) < 1:
        yield f"a revision without its audit leaf: {dict(changed)}"


def _verdict_faults(case: Case, answer: Answer) -> Iterator[str]:
    """What is known of the request."""
    if case.refuse and answer.status < 400:
        yield f"accepted with {answer.status} although wrong: {case.note}"
    wrote = answer.status < 400 and not case.operation.startswith((*_READS, *_OURS))
    if case.narrow and wrote and case.subject not in NARROW:
        yield f"a role that may not do it did {case.operation} to {case.subject}"
    stranger = case.service == "appmesh" and case.signing not in {"header", "presigned"}
    stranger = stranger and not case.path.startswith(_FOR_STRANGERS)
    if stranger and answer.status >= 400 and not (answer.code in UNKNOWN or _unreadable(answer)):
        yield f"judged as {answer.code} although nobody is known to have sent it: {case.note}"
    if case.valid and answer.status >= 400:
        yield from _refusal_faults(answer, narrow=case.narrow)


def _unreadable(answer: Answer) -> bool:
    """Whether it was no request at all, or one for no clear path."""
    return answer.status == 400 and (b"HTTP" in answer.body or b"dot segments" in answer.body)


def _refusal_faults(answer: Answer, *, narrow: bool) -> Iterator[str]:
    """A request that is valid by the published model is refused for what it means, with a reason."""
    if answer.code in STATED or (answer.code == "AccessDeniedException" and narrow):
        return
    message: Any = answer.document.get("message", "") if answer.body.startswith(b"{") else ""
    if answer.code not in {"BadRequestException", "TooManyTagsException", "ForbiddenException"}:
        yield f"a valid request refused with {answer.status} {answer.code}: {message[:300]}"
    elif _FORM.search(message):
        yield f"a valid request refused for its form: {message[:300]}"
