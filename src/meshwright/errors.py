"""Failures of ours, one exception tree; problems in a user's mesh are values (`meshwright.diagnostics`).

    MeshwrightError                     exit code 2 unless said otherwise
    ├── UsageError                      the command or the configuration cannot mean anything
    │   └── PolicyError                 an IAM policy that cannot be used, with all its faults (`trust.policies`)
    ├── UnreadableError                 a file or folder cannot be read or is not what it should be
    ├── UnreachableError                a server did not answer, or answered with something else
    ├── RefusedError                    exit code 1: understood and refused; nothing was changed
    │   ├── StalePlanError              what the plan starts from has changed since
    │   ├── RevisionConflictError       another writer committed first
    │   ├── GuardrailError              the environment's guardrails deny a release (`release`)
    │   ├── OlderBuildError             a newer build of the same branch has released already (`release`)
    │   ├── InvalidReleaseError         a release would make an invalid mesh; it carries the diagnostics (`release`)
    │   ├── NoteError, ProofError       what was signed, or proven, is not (`audit`)
    │   ├── AccessDeniedError           the caller is known and may not do this; answered with 403
    │   └── SignatureError              nobody can be held to a request (`trust.canonical`); answered with 403 or 400
    ├── UnknownProxyError               no virtual node or gateway of that name exists
    ├── FailedCheckError                exit code 1: a check of ours saw something else than it expected
    ├── StorageError                    the database cannot be opened, read or written
    ├── ProtocolError                   a request that is not of the API's form (`api.answers`)
    └── ApiError                        one of App Mesh's ten errors, with its name and HTTP status
        ├── BadRequestException 400     ├── ForbiddenException 403      ├── NotFoundException 404
        ├── ConflictException 409       ├── ResourceInUseException 409  ├── LimitExceededException 400
        ├── TooManyTagsException 400    ├── TooManyRequestsException 429
        └── InternalServerErrorException 500, ServiceUnavailableException 503

Every message names the thing, quotes the value, says why it matters and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class MeshwrightError(Exception):
    """The root of every failure that Meshwright raises on purpose."""

    exit_code: ClassVar[int] = 2


class UsageError(MeshwrightError):
    """The command line or `meshwright.yaml` asks for something that cannot be done."""


class UnreadableError(MeshwrightError):
    """A file or folder cannot be read, or is not of the kind it should be."""


class UnreachableError(MeshwrightError):
    """A server did not answer in time, or its answer was not understood."""


class RefusedError(MeshwrightError):
    """The request was understood and refused; nothing was changed.

    `objects` are the paths of those of the objects that it would have changed for which it is refused, where that is
    known: each once, in the order they were found in.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, *words: object, objects: Iterable[str] = ()) -> None:
        super().__init__(*words)
        self.objects = tuple(dict.fromkeys(objects))


class StalePlanError(RefusedError):
    """An object that the plan touches or references has changed since the plan was made."""


class RevisionConflictError(RefusedError):
    """Another writer committed between the read and this commit."""


class AccessDeniedError(RefusedError):
    """The caller is known and may not do this: AWS's `AccessDeniedException`, answered with HTTP 403.

    Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/CommonErrors.html
    """

    code: ClassVar[str] = "AccessDeniedException"
    status: ClassVar[int] = 403


class UnknownProxyError(MeshwrightError):
    """A proxy stands for a virtual node or virtual gateway that does not exist."""


class FailedCheckError(MeshwrightError):
    """A check of ours saw something else than it expected."""

    exit_code: ClassVar[int] = 1


class StorageError(MeshwrightError):
    """The database cannot be opened, read or written.

    `kind` is what clients may read of it, such as `its disk is full`; "" for what nobody expects to happen.
    """

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


class ApiError(MeshwrightError):
    """An error of the App Mesh API: `str()` is the wire message.

    Source: https://docs.aws.amazon.com/app-mesh/latest/APIReference/CommonErrors.html
    """

    status: ClassVar[int] = 500

    @property
    def code(self) -> str:
        """The error's name on the wire, as in the `x-amzn-ErrorType` header."""
        return type(self).__name__


class BadRequestException(ApiError):  # noqa: N818 - the name is the wire contract
    """The request is malformed or breaks a rule of the service."""

    status: ClassVar[int] = 400
    exit_code: ClassVar[int] = 1


class ForbiddenException(ApiError):  # noqa: N818 - the name is the wire contract
    """The caller may not do this."""

    status: ClassVar[int] = 403
    exit_code: ClassVar[int] = 1


class NotFoundException(ApiError):  # noqa: N818 - the name is the wire contract
    """The object, or one that it must refer to, does not exist."""

    status: ClassVar[int] = 404
    exit_code: ClassVar[int] = 2


class ConflictException(ApiError):  # noqa: N818 - the name is the wire contract
    """The name is taken, or the client token was used for another request."""

    status: ClassVar[int] = 409
    exit_code: ClassVar[int] = 1


class ResourceInUseException(ApiError):  # noqa: N818 - the name is the wire contract
    """The object cannot be deleted while another one refers to it."""

    status: ClassVar[int] = 409
    exit_code: ClassVar[int] = 1


class LimitExceededException(ApiError):  # noqa: N818 - the name is the wire contract
    """A quota is used up."""

    status: ClassVar[int] = 400
    exit_code: ClassVar[int] = 1


class TooManyTagsException(ApiError):  # noqa: N818 - the name is the wire contract
    """The object would carry more than 50 tags."""

    status: ClassVar[int] = 400
    exit_code: ClassVar[int] = 1


class TooManyRequestsException(ApiError):  # noqa: N818 - the name is the wire contract
    """The caller is asking faster than it may."""

    status: ClassVar[int] = 429


class InternalServerErrorException(ApiError):  # noqa: N818 - the name is the wire contract
    """The server failed; the request may be repeated."""

    status: ClassVar[int] = 500


class ServiceUnavailableException(ApiError):  # noqa: N818 - the name is the wire contract
    """The server cannot answer now; the request may be repeated."""

    status: ClassVar[int] = 503


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of `known` that `name` was probably meant to be; `cutoff` from 0, anything, to 1, the same only."""
    import difflib  # noqa: PLC0415 - wanted on the way to an error only, and commands start often

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def did_you_mean(
    name: str, known: Iterable[str], otherwise: str = "", *, cutoff: float = 0.6, sentence: bool = False
) -> str:
    """`did you mean 'X'?` for what is near one that is known, else `otherwise`; `sentence` begins with a capital."""
    found = nearest(name, known, cutoff)
    return f"{'Did' if sentence else 'did'} you mean {found!r}?" if found is not None else otherwise


def ended(text: str) -> str:
    """`text` as a sentence: with a full stop, unless it ends with a question."""
    return text if text.endswith("?") else f"{text}."
