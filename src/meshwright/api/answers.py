"""Answers in the form of AWS's rest-json protocol, errors included, and the layer that turns exceptions into them.

The one rule: a client learns what is wrong with its request and never what is inside the server; what failed inside
is logged with its traceback under the request id that the client gets.
Source: https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization
"""

from __future__ import annotations

import asyncio
import logging
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from meshwright.api import sts_xml
from meshwright.api.limits import RETRY_AFTER, Rate
from meshwright.errors import (
    AccessDeniedError,
    ApiError,
    InternalServerErrorException,
    MeshwrightError,
    RevisionConflictError,
    ServiceUnavailableException,
    StorageError,
    TooManyRequestsException,
)
from meshwright.trust.canonical import EXPIRED, INCOMPLETE, INVALID, MISSING, UNRECOGNIZED
from meshwright.trust.sigv4 import SignatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from meshwright.api.services import Services
    from meshwright.trust.principals import Principal

TOKEN_PATH = "/"  # noqa: S105 - a path
"""Where STS answers, in XML; everything else is the App Mesh API and our own endpoints, in JSON."""

_LOGGED_PATH = 200
_CLIENT_GONE = 499
"""What is counted for a request whose client did not wait for an answer."""
_TOKEN_CODES: Mapping[str, str] = MappingProxyType(
    {
        MISSING: "MissingAuthenticationToken",
        INCOMPLETE: "IncompleteSignature",
        INVALID: "SignatureDoesNotMatch",
        UNRECOGNIZED: "InvalidClientTokenId",
        EXPIRED: "ExpiredToken",
        AccessDeniedError.code: "AccessDenied",
        "TooManyRequestsException": "Throttling",
        "InternalServerErrorException": "InternalFailure",
        "ServiceUnavailableException": "ServiceUnavailable",
    }
)


class ProtocolError(MeshwrightError):
    """A request that no operation can be asked for: `code` is AWS's name for the error, `status` its HTTP status."""

    exit_code = 1

    def __init__(self, message: str, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def answer(body: object, status: int = 200) -> Response:
    """`body` as JSON; msgspec values keep their wire names."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


class JsonAnswer:
    """A successful answer whose JSON is there; of the framework's `Response` it leaves out what costs 10 µs."""

    def __init__(self, body: bytes, status_code: int = 200) -> None:
        self.body = body
        self.status_code = status_code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del scope, receive
        headers = [(b"content-length", b"%d" % len(self.body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def error_answer(code: str, message: str, status: int) -> Response:
    """An error as every AWS SDK reads it: its name in a header, its message in the body."""
    response = answer({"message": message}, status)
    response.headers["x-amzn-ErrorType"] = code
    return response


def token_error_answer(code: str, message: str, status: int, request_id: str) -> Response:
    """An error as STS tells it: XML, and AWS's shorter names for what is wrong with a signature.

    Source: https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
    """
    code = _TOKEN_CODES.get(code, code.removesuffix("Exception"))
    return Response(sts_xml.failure(code, message, status, request_id), status, media_type=sts_xml.MEDIA_TYPE)


class ErrorLayer:
    """The outermost layer: gives each request an id, counts and logs it, and answers every exception from below."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._log = logging.getLogger("meshwright.api")
        self._refusals = Rate(burst=20, every=3_000)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; see https://asgi.readthedocs.io/en/latest/specs/www.html."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, began = self._services.uid(), time.perf_counter()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-amzn-requestid", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            # The server stops, and the request has outlived its grace.
            if status:
                raise
            text = (
                f"The server is stopping; see whether a write was made before repeating it. Request id: {request_id}"
            )
            code = ServiceUnavailableException
            await error_answer(code.__name__, text, code.status)(scope, receive, noting)
        except Exception as error:
            if status:
                raise
            await self._told(error, scope, request_id)(scope, receive, noting)
        self._noted(scope, status or _CLIENT_GONE, time.perf_counter() - began)

    def _told(self, error: Exception, scope: Scope, request_id: str) -> Response:
        """The answer to a client whose request ended in `error`."""
        code, message, status = self._judged(error, scope["state"], request_id)
        scope["state"]["refused"] = code, message
        if scope["path"] == TOKEN_PATH:
            response = token_error_answer(code, message, status, request_id)
        else:
            response = error_answer(code, message, status)
        if status in {429, 503}:
            response.headers["retry-after"] = str(RETRY_AFTER)
        if any(name == b"expect" for name, _ in scope["headers"]):
            # Whether the body comes yet is the client's choice: what follows could be read as it, or it as a request.
            response.headers["connection"] = "close"
        return response

    def _judged(self, error: Exception, state: dict[str, Any], request_id: str) -> tuple[str, str, int]:
        """The error's name, its words and its HTTP status; it is counted and, where it is ours, logged."""
        metrics, operation = self._services.metrics, state.get("operation", "")
        code: type[ApiError]
        match error:
            case SignatureError():
                metrics.refused(error.code)
                state["unauthenticated"] = str(error)
                return error.code, str(error), error.status
            case AccessDeniedError():
                metrics.denied(operation)
                return error.code, str(error), error.status
            case ApiError() | ProtocolError():
                if isinstance(error, TooManyRequestsException):
                    metrics.turned_away("requests")
                return error.code, str(error), error.status
            case RevisionConflictError():
                code, text = ServiceUnavailableException, "Other writes were faster. Repeat the request."
            case StorageError():
                metrics.store_failed()
                unexpected = None if error.kind else error
                self._log.error("storage failed: %s", error, exc_info=unexpected, extra={"request_id": request_id})
                why = f": {error.kind}" if error.kind else ""
                text = f"The database cannot be used now{why}. Repeat the request later."
                code = ServiceUnavailableException
            case _:
                self._log.error("request failed", exc_info=error, extra={"request_id": request_id})
                code, text = InternalServerErrorException, "The server failed; its log says why."
        return code.__name__, f"{text} Request id: {request_id}", code.status

    def _noted(self, scope: Scope, status: int, seconds: float) -> None:
        """Count the request and log it; of those that nobody can be held to, and are free to send, only some.

        What was read is logged for debugging only: it is most of the traffic, and changes nothing.
        """
        state = scope["state"]
        operation = state.get("operation", "")
        self._services.metrics.answered(operation, status, seconds)
        self._services.attempts.note(scope, status)
        level, missed = logging.INFO, 0
        if status == 200 and scope["method"] == "GET":
            level = logging.DEBUG
        elif "principal" not in state:
            if not self._refusals.allow(self._services.now()):
                return
            missed = self._refusals.forget()
        if not self._log.isEnabledFor(level):
            return
        principal: Principal | None = state.get("principal")
        self._log.log(
            level,
            "%s %s %s",
            scope["method"],
            scope["path"][:_LOGGED_PATH],
            status,
            extra={
                "request_id": state["request_id"],
                "operation": operation,
                "principal": principal.arn if principal else "",
                "refused": state.get("unauthenticated", ""),
                "not_logged_before": missed or "",
                "status": status,
                "milliseconds": round(seconds * 1000, 1),
            },
        )
