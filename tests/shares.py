"""Whether a share that was counted is what was asked for: exact binomial intervals.

The one rule: a count outside its interval is drawn once more, because one in a hundred honest ones is.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DRAWS = 2_000


@functools.cache
def interval(n: int, share: float, confidence: float = 0.99) -> tuple[int, int]:
    """The fewest and the most successes of `n` that an honest `share` has, but for a tail of half the rest each."""
    tail = (1 - confidence) / 2
    logs = (_log(n, k, share) for k in range(n + 1))
    low, high, below = -1, n, 0.0
    for k, chance in enumerate(map(math.exp, logs)):
        below += chance
        if low < 0 and below > tail:
            low = k
        if below >= 1 - tail:
            high = k
            break
    return max(low, 0), high


def _log(n: int, k: int, share: float) -> float:
    if share in {0.0, 1.0}:
        return 0.0 if k == share * n else -math.inf
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return ways + k * math.log(share) + (n - k) * math.log1p(-share)


async def assert_share(share: float, draw: Callable[[], Awaitable[int]], n: int = DRAWS) -> int:
    """Fail unless what `draw` counts of `n` is in the 99 % interval of `share`, in one of two draws; the count."""
    low, high = interval(n, share)
    first = await draw()
    found = first if low <= first <= high else await draw()
    assert low <= found <= high, f"{first}, then {found} of {n}: expected {low} to {high} for a share of {share}"
    return found
