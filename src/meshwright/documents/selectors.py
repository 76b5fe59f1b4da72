"""Kubernetes label selectors.

The one rule: as Kubernetes has it, an empty selector takes everything; what an absent one takes, the caller says.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshwright.documents.positions import Items, Table

if TYPE_CHECKING:
    from collections.abc import Mapping


def selects(selector: Any, labels: Mapping[str, Any], *, absent: bool) -> bool:
    """Whether `selector` takes what carries `labels`; `absent` where there is no selector."""
    if not isinstance(selector, Table):
        return absent
    wanted = selector.get("matchLabels")
    if isinstance(wanted, Table) and any(labels.get(name) != value for name, value in wanted.items()):
        return False
    expressions = selector.get("matchExpressions")
    return all(_holds(one, labels) for one in expressions) if isinstance(expressions, Items) else True


def _holds(expression: Any, labels: Mapping[str, Any]) -> bool:
    if not isinstance(expression, Table):
        return False
    name, values = str(expression.get("key")), expression.get("values")
    listed = values if isinstance(values, Items) else []
    match expression.get("operator"):
        case "In":
            return name in labels and labels[name] in listed
        case "NotIn":
            return name not in labels or labels[name] not in listed
        case "Exists":
            return name in labels
        case "DoesNotExist":
            return name not in labels
    return False
