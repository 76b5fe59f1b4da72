"""Whether a share that was counted is what was asked for: exact binomial intervals.

The one rule: the confidence is stated, and it is the chance that an honest share passes.
Source: C. Clopper and E. Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934); here the
acceptance region of the exact test, both tails alike.
"""

from __future__ import annotations

import functools
import math

CONFIDENCE = 0.999
"""What a share is held to where nobody says otherwise: one honest run in a thousand fails."""


@functools.cache
def interval(n: int, share: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """The fewest and the most of `n` that an honest `share` (0 to 1) has, but for two tails of half the rest each."""
    tail = (1 - confidence) / 2
    low, high, below = -1, n, 0.0
    for k in range(n + 1):
        below += math.exp(_log(n, k, share))
        if low < 0 and below > tail:
            low = k
        if below >= 1 - tail:
            high = k
            break
    return max(low, 0), high


def _log(n: int, k: int, share: float) -> float:
    """The logarithm of the chance of `k` successes of `n`."""
    if share in {0.0, 1.0}:
        return 0.0 if k == share * n else -math.inf
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return ways + k * math.log(share) + (n - k) * math.log1p(-share)
