"""What only the connection knows of a request: condition keys for policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope


def connection_facts(scope: Scope) -> dict[str, str]:
    """The condition keys that the connection gives: where it comes from, and whether it is encrypted.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
    """
    found = {"aws:SecureTransport": str(scope.get("scheme") == "https").lower()}
    client = scope.get("client")
    return {**found, "aws:SourceIp": client[0]} if client else found


def source_of(scope: Scope) -> str:
    """The address of whoever asks; "" where there is none."""
    client = scope.get("client")
    return str(client[0]) if client else ""
