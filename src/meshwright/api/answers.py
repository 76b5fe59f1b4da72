"""Answers in the form of AWS's rest-json protocol, errors included, and the layer that turns exceptions into them.

The one rule: a client learns what is wrong with its request and never what is inside the server; what failed inside
is logged with its traceback under the request id that the client gets.
Source: https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from meshwright.errors import (
    ApiError,
    InternalServerErrorException,
    MeshwrightError,
    RevisionConflictError,
    ServiceUnavailableException,
    StorageError,
)
from meshwright.trust.sigv4 import SignatureError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from meshwright.api.services import Services


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


def error_answer(code: str, message: str, status: int) -> Response:
    """An error as every AWS SDK reads it: its name in a header, its message in the body."""
    response = answer({"message": message}, status)
    response.headers["x-amzn-ErrorType"] = code
    return response


class ErrorLayer:
    """The outermost layer: gives each request an id, logs it, and answers for every exception from below."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._log = logging.getLogger("meshwright.api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; see https://asgi.readthedocs.io/en/latest/specs/www.html."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, began = self._services.uid(), self._services.now()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-amzn-requestid", request_id.encode())]
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
            await self._told(error, request_id)(scope, receive, noting)
        self._log.info(
            "%s %s %s",
            scope["method"],
            scope["path"],
            status,
            extra={
                "request_id": request_id,
                "operation": state.get("operation", ""),
                "principal": state.get("principal", ""),
                "status": status,
                "milliseconds": self._services.now() - began,
            },
        )

    def _told(self, error: Exception, request_id: str) -> Response:
        """The answer to a client whose request ended in `error`."""
        code: type[ApiError]
        match error:
            case ApiError() | ProtocolError() | SignatureError():
                return error_answer(error.code, str(error), error.status)
            case RevisionConflictError():
                code, text = ServiceUnavailableException, "Other writes were faster. Repeat the request."
            case StorageError():
                self._log.error("storage failed", exc_info=error, extra={"request_id": request_id})
                code, text = ServiceUnavailableException, "The database cannot be used now. Repeat the request later."
            case _:
                self._log.error("request failed", exc_info=error, extra={"request_id": request_id})
                code, text = InternalServerErrorException, "The server failed; its log says why."
        return error_answer(code.__name__, f"{text} Request id: {request_id}", code.status)
