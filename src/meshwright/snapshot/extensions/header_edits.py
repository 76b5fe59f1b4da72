"""Edits of headers: removed, then set, then added.

The one rule: a value is a text, never a program: what Envoy would take for one of its commands is escaped.
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#custom-request-response-headers
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from meshwright.snapshot.extensions.additions import Additions
from meshwright.snapshot.older import header, report_empty
from meshwright.snapshot.resources import Clue

if TYPE_CHECKING:
    from meshwright.model.extensions import HeaderEditSpec
    from meshwright.model.extensions.headers import HeaderEdits, HeaderValue
    from meshwright.model.state import Resource
    from meshwright.routing import Place
    from meshwright.snapshot.assembly import Assembly
    from meshwright.snapshot.resources import Traits
    from meshwright.snapshot.values import Wire

_SERVER = "server"


def added(assembly: Assembly, _place: Place, extension: Resource) -> Additions:
    """What edits add to a route."""
    spec = cast("HeaderEditSpec", extension.spec)
    both = [edits for edits in (spec.request, spec.response) if edits is not None]
    report_empty(assembly, extension.key, (one.value for edits in both for one in _written(edits)))
    texts = [text for edits in both for text in _texts(edits)]
    return Additions(
        origins=(extension.key,),
        clues=tuple(Clue(text, extension.key) for text in texts),
        members={
            **_members("request", spec.request, assembly.traits),
            **_members("response", spec.response, assembly.traits),
        },
        own_server=spec.response is not None and _SERVER in {name.lower() for name in _names(spec.response)},
    )


def _members(side: str, edits: HeaderEdits | None, traits: Traits) -> Wire:
    if edits is None:
        return {}
    written = [header(one.name, _text(one), traits, replacing=True) for one in edits.set or ()]
    written += [header(one.name, _text(one), traits, replacing=False) for one in edits.add or ()]
    members = {f"{side}_headers_to_add": written, f"{side}_headers_to_remove": list(edits.remove or ())}
    return {name: value for name, value in members.items() if value}


def _text(given: HeaderValue) -> str:
    return given.value.replace("%", "%%")


def _written(edits: HeaderEdits) -> tuple[HeaderValue, ...]:
    return (*(edits.set or ()), *(edits.add or ()))


def _names(edits: HeaderEdits) -> list[str]:
    return [*(one.name for one in _written(edits)), *(edits.remove or ())]


def _texts(edits: HeaderEdits) -> list[str]:
    return [*_names(edits), *(one.value for one in _written(edits))]
