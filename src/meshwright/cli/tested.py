"""The report of `meshwright test` that a release is to carry as evidence.

The one rule: a report of other definitions, or with a failure in it, is evidence of nothing, and is refused.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import msgspec

from meshwright.errors import RefusedError, UnreadableError
from meshwright.impact.tested import RunSummary

if TYPE_CHECKING:
    from pathlib import Path

    from meshwright.release import ApplyRequest


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a report."""

    mode: Literal["envoy", "simulate"]
    at: int
    passed: int
    failed: int
    broken: int
    skipped: int
    coverage: float
    definitions: str = ""


def with_tests(request: ApplyRequest, path: Path | None, otherwise: RunSummary | None = None) -> ApplyRequest:
    """`request` with what the report in `path` says, else with `otherwise`, else as it is; raises as `tested`."""
    found = tested(path, request.definitions) if path is not None else otherwise or request.tests
    return msgspec.structs.replace(request, tests=found)


def tested(path: Path, definitions: str) -> RunSummary:
    """What the report in `path` says of `definitions`, which are told by their digest; "" where there is none.

    Raises:
        UnreadableError: it is no report.
        RefusedError: it is of other definitions, or not all of its tests passed.
    """
    try:
        text = path.read_bytes()
        report = msgspec.json.decode(text, type=_Report)
    except OSError as error:
        raise UnreadableError(f"The report {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path} is no report as `meshwright test --report` writes it: {error}.") from error
    if not definitions:
        raise RefusedError(
            f"The report {path} is evidence of nothing here: what is adopted stands in no definitions, and nobody "
            "tested it. Nothing was changed."
        )
    if report.definitions != definitions:
        raise RefusedError(
            f"The report {path} is of other definitions than those that are to be released. Test these: "
            f"`meshwright test --report {path}`. Nothing was changed."
        )
    bad = [f"{number} {word}" for number, word in ((report.failed, "failed"), (report.broken, "broken")) if number]
    if bad or not report.passed:
        raise RefusedError(
            f"The report {path} says that {' and '.join(bad) or 'no test passed'}, of "
            f"{report.passed + report.failed + report.broken} tests that were run. Nothing was changed."
        )
    return RunSummary(
        digest=hashlib.sha256(text).hexdigest(),
        definitions=definitions,
        mode=report.mode,
        at=report.at,
        passed=report.passed,
        skipped=report.skipped,
        coverage=report.coverage,
    )
