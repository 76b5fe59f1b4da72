"""IAM policies: documents, patterns, variables, conditions, decisions; pure. What is known: `docs/policies.md`."""

from meshwright.trust.policies.blocks import compiled_condition, matches
from meshwright.trust.policies.conditions import Condition, holds, lowered
from meshwright.trust.policies.documents import MAX_CHARACTERS, MAX_STATEMENTS, parse
from meshwright.trust.policies.evaluation import Ask, Decision, Matched, evaluate
from meshwright.trust.policies.faults import Fault, PolicyError
from meshwright.trust.policies.statements import Policy, Statement

__all__ = [
    "MAX_CHARACTERS",
    "MAX_STATEMENTS",
    "Ask",
    "Condition",
    "Decision",
    "Fault",
    "Matched",
    "Policy",
    "PolicyError",
    "Statement",
    "compiled_condition",
    "evaluate",
    "holds",
    "lowered",
    "matches",
    "parse",
]
