"""A `meshwright` with one fault in it, to see that the fuzzer finds it: `python -m fuzzing.mutants NAME serve …`.

The one rule: a fault is put into the running program, never into its files.
"""

from __future__ import annotations

import hmac
import logging
import sys
from typing import TYPE_CHECKING, Any

from meshwright.api.appmesh import AppMesh
from meshwright.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import Message, Receive, Scope, Send

    Served = Callable[[AppMesh, Scope, Receive, Send], Coroutine[Any, Any, None]]

_leaked: list[bytearray] = []


def _unexpected(served: Served) -> Served:
    """An exception that nobody thought of, for a member that is rarely there."""

    async def mutant(self: AppMesh, scope: Scope, receive: Receive, send: Send) -> None:
        if b"limit=" in scope["query_string"]:
            raise KeyError("limit")
        await served(self, scope, receive, send)

    return mutant


def _written_first(served: Served) -> Served:
    """Something is written before the request is judged."""

    async def mutant(self: AppMesh, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "PUT":
            self._services.store.keep(f"seen {scope['state']['request_id']}", "x")
        await served(self, scope, receive, send)

    return mutant


def _nameless(served: Served) -> Served:
    """Errors without their names, whoever raised them."""
    from meshwright.api import answers  # noqa: PLC0415 - only this mutant changes it

    told: Any = answers.error_answer

    def bare(code: str, *rest: Any, **members: Any) -> Any:
        del code
        response = told("", *rest, **members)
        response.headers["x-amzn-errortype"] = ""
        return response

    answers.error_answer = bare
    return served


def _twice(served: Served) -> Served:
    """Every request is done twice: a write is two revisions, or an error after a revision."""

    async def mutant(self: AppMesh, scope: Scope, receive: Receive, send: Send) -> None:
        kept: list[Message] = []

        async def again() -> Message:
            kept.append(await receive())
            return kept[-1]

        async def nowhere(message: Message) -> None:
            del message

        await served(self, dict(scope), again, nowhere)

        async def replayed() -> Message:
            return kept.pop(0) if kept else await receive()

        await served(self, scope, replayed, send)

    return mutant


def _noisy(served: Served) -> Served:
    """A traceback in the log, and a good answer."""

    async def mutant(self: AppMesh, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "DELETE":
            try:
                int("swallowed")
            except ValueError:
                logging.getLogger("meshwright").exception("something happened")
        await served(self, scope, receive, send)

    return mutant


def _leaking(served: Served) -> Served:
    """Memory that is never given back."""

    async def mutant(self: AppMesh, scope: Scope, receive: Receive, send: Send) -> None:
        _leaked.append(bytearray(b"x" * 400_000))
        await served(self, scope, receive, send)

    return mutant


def _anybody(served: Served) -> Served:
    """Every signature fits."""
    hmac.compare_digest = lambda _one, _other: True
    return served


MUTANTS: dict[str, Callable[[Served], Served]] = {
    "unexpected": _unexpected,
    "written first": _written_first,
    "nameless": _nameless,
    "twice": _twice,
    "noisy": _noisy,
    "leaking": _leaking,
    "anybody": _anybody,
}
"""The faults by name."""

if __name__ == "__main__":
    name = sys.argv.pop(1)
    AppMesh.__call__ = MUTANTS[name](AppMesh.__call__)  # type: ignore[method-assign, assignment] # that is the point
    main()
