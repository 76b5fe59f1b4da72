"""What refuses a release, and how that is said over HTTP, to the server and to its clients alike.

The one rule: every reason is told, not the first.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from meshwright.errors import RefusedError, RevisionConflictError, StalePlanError
from meshwright.release.fencing import OlderBuildError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.diagnostics import Diagnostic


class InvalidReleaseError(RefusedError):
    """The mesh would be invalid after the release; `diagnostics` holds every reason."""

    def __init__(self, message: str, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__(message, objects=(one.subject for one in diagnostics if one.subject))
        self.diagnostics = diagnostics


class GuardrailError(RefusedError):
    """The environment's guardrails deny the release; the message holds every reason."""


CODES: Mapping[type[RefusedError], tuple[str, int]] = MappingProxyType(
    {
        StalePlanError: ("StalePlanException", 409),
        RevisionConflictError: ("RevisionConflictException", 409),
        GuardrailError: ("GuardrailException", 403),
        OlderBuildError: ("OlderBuildException", 409),
        InvalidReleaseError: ("InvalidReleaseException", 422),
        RefusedError: ("RefusedException", 422),
    }
)
"""The error's name and HTTP status; of a class that is not here, those of the nearest one above it."""
