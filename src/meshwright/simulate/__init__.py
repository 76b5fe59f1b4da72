"""Where a call would go, and why, without an Envoy.

The one rule: every decision is `routing`'s, the same that `snapshot` writes down for Envoy; here it is only followed.
"""

from meshwright.simulate.calls import Call
from meshwright.simulate.entry import route
from meshwright.simulate.gateways import rewritten
from meshwright.simulate.matching import misses
from meshwright.simulate.urls import call_of
from meshwright.simulate.verdicts import Candidate, Effect, Ending, Hop, Miss, Outcome, Share, Verdict

__all__ = [
    "Call",
    "Candidate",
    "Effect",
    "Ending",
    "Hop",
    "Miss",
    "Outcome",
    "Share",
    "Verdict",
    "call_of",
    "misses",
    "rewritten",
    "route",
]
