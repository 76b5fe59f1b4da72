"""What a request of ours says: whose release it is about, numbers and flags of its query, its body.

The one rule: what cannot be meant is told with the value that was found, as App Mesh's own BadRequestException.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

import msgspec

from meshwright.errors import BadRequestException, NotFoundException
from meshwright.views.wire import from_wire

if TYPE_CHECKING:
    from starlette.requests import Request

    from meshwright.api.services import Services
    from meshwright.release import Release

T = TypeVar("T")

_STACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def stack_of(request: Request) -> tuple[str, str]:
    """The mesh and the stack of its path."""
    mesh, stack = request.path_params["mesh"], request.path_params["stack"]
    if not _STACK.fullmatch(stack):
        raise BadRequestException(
            f"{stack!r} is not a stack's name; it takes up to 128 letters, digits, dots, hyphens and underscores."
        )
    return mesh, stack


async def body_of(request: Request, wanted: type[T]) -> T:
    """Its body as what is `wanted`."""
    try:
        return from_wire(wanted, msgspec.json.decode(await request.body()))
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadRequestException(f"The body is no {wanted.__name__}: {reason}.") from None


def in_path(request: Request, name: str) -> int:
    """A number of its path."""
    text = request.path_params[name]
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise BadRequestException(f"{text!r} is not the number of a {name}.")
    return int(text)


def number_of(request: Request, name: str, default: float, low: float, high: float) -> float:
    """A number of its query, from `low` to `high`; `default` where it says none."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) or not low <= float(text) <= high:
        raise BadRequestException(f"{name} takes a number from {low:g} to {high:g}, found {text!r}.")
    return float(text)


def release_of(services: Services, request: Request) -> Release:
    """The release of its path, whole."""
    mesh, stack = stack_of(request)
    number = in_path(request, "number")
    found = services.store.release(mesh, stack, number)
    if found is None:
        raise NotFoundException(f"Stack {stack!r} in mesh {mesh!r} has no release {number}.")
    return found


def flag_of(request: Request, name: str) -> bool:
    """A flag of its query; false where it says none."""
    text = request.query_params.get(name, "false")
    if text not in {"true", "false"}:
        raise BadRequestException(f"{name} takes true or false, found {text!r}.")
    return text == "true"
