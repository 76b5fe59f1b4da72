"""Edits of headers: removed, then set, then added.

The one rule: a value is a text, never a program: what Envoy would take for one of its commands is escaped.
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#custom-request-response-headers
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from meshwright.snapshot.extensions.additions import Additions
from meshwright.snapshot.resources import Clue

if TYPE_CHECKING:
    from meshwright.model.extensions import HeaderEditSpec
    from meshwright.model.extensions.headers import HeaderEdits, HeaderValue
    from meshwright.model.state import Resource
    from meshwright.routing import Place
    from meshwright.snapshot.assembly import Assembly
    from meshwright.snapshot.values import Wire

_SERVER = "server"


def added(_assembly: Assembly, _place: Place, extension: Resource) -> Additions:
    """What edits add to a route."""
    spec = cast("HeaderEditSpec", extension.spec)
    both = [edits for edits in (spec.request, spec.response) if edits is not None]
    texts = [text for edits in both for text in _texts(edits)]
    return Additions(
        origins=(extension.key,),
        clues=tuple(Clue(text, extension.key) for text in texts),
        members={**_members("request", spec.request), **_members("response", spec.response)},
        own_server=spec.response is not None and _SERVER in {name.lower() for name in _names(spec.response)},
    )


def _members(side: str, edits: HeaderEdits | None) -> Wire:
    if edits is None:
        return {}
    written = [_value(one, "OVERWRITE_IF_EXISTS_OR_ADD") for one in edits.set or ()]
    written += [_value(one, "APPEND_IF_EXISTS_OR_ADD") for one in edits.add or ()]
    members = {f"{side}_headers_to_add": written, f"{side}_headers_to_remove": list(edits.remove or ())}
    return {name: value for name, value in members.items() if value}


def _value(header: HeaderValue, action: str) -> Wire:
    return {
        "header": {"key": header.name, "value": header.value.replace("%", "%%")},
        "append_action": action,
        "keep_empty_value": not header.value,
    }


def _names(edits: HeaderEdits) -> list[str]:
    return [*(one.name for one in (*(edits.set or ()), *(edits.add or ()))), *(edits.remove or ())]


def _texts(edits: HeaderEdits) -> list[str]:
    return [*_names(edits), *(one.value for one in (*(edits.set or ()), *(edits.add or ())))]
