"""What is legal but wrong or unwise: one rule a file, applied to a whole graph.

The one rule: a rule reports only what is certain, says why it matters, and points at the field. What App Mesh itself
refuses is `constraints`' business; those codes, and those of reading, have their pages here all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.constraints import World
from meshwright.diagnostics import ordered
from meshwright.rules import (
    absent_approver,
    absent_secret,
    admitted_pull_request,
    assumed_branch,
    assumed_value,
    broad_fault,
    circular_dependency,
    constant_condition,
    duplicate_definition,
    expired_fault,
    idle_guardrail,
    incomplete_definition,
    inert_extension,
    long_lived_key,
    misread_condition,
    missing_routes,
    never_deploys,
    no_definitions,
    not_exactly_one,
    not_portable,
    open_deploy,
    open_issuer,
    outdated_key,
    overlapping_ownership,
    plain_secret,
    powerless_grant,
    protocol_mismatch,
    reachable_environment,
    refused_combination,
    rejected_by_envoy,
    rejected_regex,
    rejected_text,
    shadowed_route,
    shallow_clone,
    silent_wait,
    tolerated_failure,
    undeclared_call,
    unfiltered_log,
    unfinished_retries,
    unheeded_command,
    unknown_backend,
    unknown_field,
    unknown_key,
    unknown_parent,
    unknown_provider,
    unknown_target,
    unmatchable_path,
    unmatched_overlay,
    unmatched_stage,
    unquoted_value,
    unreadable_condition,
    unreadable_document,
    unresolved_value,
    unserved_definition,
    unsupported_definition,
    unusable_value,
    unused_backend,
    unused_role,
    value_outside_limits,
    weightless_route,
    wider_grant,
    wildcard_principal,
    wrong_port,
)
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from meshwright.diagnostics import Diagnostic
    from meshwright.graph import Graph
    from meshwright.model.identity import Key

__all__ = ["RULES", "Rule", "audit", "find", "rendered"]

RULES: tuple[Rule, ...] = (
    unknown_field.RULE,
    value_outside_limits.RULE,
    not_exactly_one.RULE,
    not_portable.RULE,
    refused_combination.RULE,
    unreadable_document.RULE,
    unresolved_value.RULE,
    incomplete_definition.RULE,
    duplicate_definition.RULE,
    unsupported_definition.RULE,
    no_definitions.RULE,
    assumed_value.RULE,
    unmatched_overlay.RULE,
    unknown_target.RULE,
    unknown_provider.RULE,
    unknown_backend.RULE,
    unknown_parent.RULE,
    wrong_port.RULE,
    missing_routes.RULE,
    shadowed_route.RULE,
    weightless_route.RULE,
    protocol_mismatch.RULE,
    rejected_regex.RULE,
    rejected_text.RULE,
    unserved_definition.RULE,
    unmatchable_path.RULE,
    circular_dependency.RULE,
    undeclared_call.RULE,
    unused_backend.RULE,
    unfinished_retries.RULE,
    wider_grant.RULE,
    long_lived_key.RULE,
    reachable_environment.RULE,
    open_issuer.RULE,
    admitted_pull_request.RULE,
    unused_role.RULE,
    overlapping_ownership.RULE,
    powerless_grant.RULE,
    wildcard_principal.RULE,
    absent_approver.RULE,
    idle_guardrail.RULE,
    expired_fault.RULE,
    broad_fault.RULE,
    inert_extension.RULE,
    unknown_key.RULE,
    unusable_value.RULE,
    unreadable_condition.RULE,
    constant_condition.RULE,
    misread_condition.RULE,
    open_deploy.RULE,
    plain_secret.RULE,
    unquoted_value.RULE,
    assumed_branch.RULE,
    never_deploys.RULE,
    tolerated_failure.RULE,
    unheeded_command.RULE,
    silent_wait.RULE,
    shallow_clone.RULE,
    absent_secret.RULE,
    outdated_key.RULE,
    unmatched_stage.RULE,
    unfiltered_log.RULE,
    rejected_by_envoy.RULE,
)
"""Every code that a diagnostic may carry, in order."""


def audit(
    graph: Graph,
    *,
    whole: bool | None = None,
    unread: frozenset[Key] = frozenset(),
    now: int | None = None,
) -> tuple[Diagnostic, ...]:
    """Everything in `graph` that App Mesh takes and that is wrong or unwise, in reading order.

    `whole` and `unread` say how much is known beside it, as for `constraints.check`; `now` is in milliseconds since
    the epoch, UTC.
    """
    world = World(whole=whole, unread=unread, now=now)
    return ordered(one for rule in RULES if rule.search is not None for one in rule.search(graph, world))


def find(text: str) -> Rule | None:
    """The rule with that code or name, in any case; None when there is none."""
    return next((rule for rule in RULES if text.upper() == rule.code or text.lower() == rule.name), None)


def rendered(rule: Rule) -> str:
    """A rule's page as `docs/rules/` holds it and `meshwright rules CODE` prints it."""
    return f"# {rule.title}\n\nSeverity: {rule.severity}\n\n{rule.page}\n"
