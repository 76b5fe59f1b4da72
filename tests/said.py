"""What an operation answered, as values: the server may keep an answer as the bytes that it sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshwright.operations import Response


def said(response: Response) -> dict[str, Any]:
    """The body of an answer that was made for this request."""
    assert isinstance(response.body, dict)
    return response.body
