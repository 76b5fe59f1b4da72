"""Why a release is refused although its plan could be performed.

The one rule: every reason is told, not the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.errors import RefusedError

if TYPE_CHECKING:
    from meshwright.diagnostics import Diagnostic


class InvalidReleaseError(RefusedError):
    """The mesh would be invalid after the release; `diagnostics` holds every reason."""

    def __init__(self, message: str, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__(message)
        self.diagnostics = diagnostics
