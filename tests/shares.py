"""Whether a share that was drawn is what was asked for, by the product's own exact binomial intervals.

The one rule: a count outside its interval is drawn once more, because one in a hundred honest ones is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.trials.shares import interval

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DRAWS = 2_000
_CONFIDENCE = 0.99


async def assert_share(share: float, draw: Callable[[], Awaitable[int]], n: int = DRAWS) -> int:
    """Fail unless what `draw` counts of `n` is in the 99 % interval of `share`, in one of two draws; the count."""
    low, high = interval(n, share, _CONFIDENCE)
    first = await draw()
    found = first if low <= first <= high else await draw()
    assert low <= found <= high, f"{first}, then {found} of {n}: expected {low} to {high} for a share of {share}"
    return found
