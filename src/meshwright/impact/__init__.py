"""What a plan means beyond its fields: the risks that it takes, whom it reaches, what Envoys are told.

The one rule: pure functions over the states before and after; what was seen of traffic is handed in. An effect is a
fact about the plan, and no judgement: whoever decides by it says so elsewhere.
"""

from meshwright.impact.findings import findings
from meshwright.impact.risks import RISKS, risks
from meshwright.impact.scene import PROTECTED_TAG, Scene, Seen
from meshwright.impact.values import Findings, Impact, Reach, Reached, ResourceDifference, Risk

__all__ = [
    "PROTECTED_TAG",
    "RISKS",
    "Findings",
    "Impact",
    "Reach",
    "Reached",
    "ResourceDifference",
    "Risk",
    "Scene",
    "Seen",
    "findings",
    "risks",
]
