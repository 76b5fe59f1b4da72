"""Trials that a run does not make as they are meant, and why they are gaps instead.

The one rule: what whoever calls in a run says besides, and where a proxy goes that calls its own node, is no fault of
a mesh, so that no test fails by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.graph import Relation
from meshwright.model.identity import Kind
from meshwright.simulate import route
from meshwright.trials.deriving.entries import Gap
from meshwright.trials.sendable import as_sent, asked_besides
from meshwright.trials.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.simulate import Verdict

_ITSELF = (
    "the proxy of a node that calls its own node goes past that one's listener where App Mesh redirects, so that "
    "nothing is known of such calls"
)
_OWN_TRACE = frozenset({"traceparent"})
"""Without its own trace, nobody would know a call again."""
_BESIDES = "whoever calls in a run says {} besides, which decides where its calls go"


def tried(graph: Graph, found: Iterable[Trial | Gap]) -> Iterator[Trial | Gap]:
    """`found`, with gaps in the place of trials whose calls would go where nobody can tell."""
    asked, selves = asked_besides(graph), _calling_themselves(graph)
    for one in found:
        verdict = route(graph, one.caller, one.call) if isinstance(one, Trial) and (asked or selves) else None
        reason = _reason(graph, verdict, asked) if verdict is not None else ""
        if isinstance(one, Trial) and verdict is not None and reason:
            yield from _instead(graph, one, verdict, reason)
        else:
            yield one


def calls_itself(verdict: Verdict) -> bool:
    """Whether a node's call may come to the node itself."""
    reached = verdict.hops[-1].targets if verdict.hops and not verdict.call.straight else ()
    return any(one.node == verdict.caller and one.fraction for one in reached)


def _calling_themselves(graph: Graph) -> frozenset[Key]:
    """The nodes of which a backend leads to themselves."""
    return frozenset(
        one.key
        for one in graph.state.of(Kind.VIRTUAL_NODE)
        if any(one.key in graph.service_nodes(service) for service in graph.entry_services(one.key))
    )


def _reason(graph: Graph, verdict: Verdict, asked: frozenset[str]) -> str:
    if calls_itself(verdict):
        return _ITSELF
    own = {name.lower() for name, _ in verdict.call.headers} & _OWN_TRACE
    if own:
        return _BESIDES.format(" and ".join(map(repr, sorted(own))))
    if not _goes_elsewhere(graph, verdict, asked):
        return ""
    deciding = [one for one in sorted(asked) if _goes_elsewhere(graph, verdict, {one})] or sorted(asked)
    return _BESIDES.format(" and ".join(map(repr, deciding)))


def _goes_elsewhere(graph: Graph, verdict: Verdict, besides: Collection[str]) -> bool:
    """Whether the call does, once it says these headers besides."""
    made = route(graph, verdict.caller, as_sent(verdict.call, besides)) if besides else verdict
    return (made.chosen, made.outcome) != (verdict.chosen, verdict.outcome)


def _instead(graph: Graph, trial: Trial, verdict: Verdict, reason: str) -> Iterator[Gap]:
    """What the trial was about, the routes that it was to follow, and the backends that it was to call."""
    for edge in graph.outgoing(trial.caller, Relation.BACKEND):
        if edge.target in trial.about:
            yield Gap(route=edge.source, path=edge.path, reason=reason)
    for key in trial.about:
        yield Gap(route=key, path=trial.path, reason=reason)
        if key in verdict.chosen:
            yield Gap(route=key, path="", reason=reason)
    for key, path in trial.shows:
        yield Gap(route=key, path=path, reason=reason)
