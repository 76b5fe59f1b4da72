"""Cross-origin resource sharing: which pages a browser may let call a service.

The one rule: the proxy answers a browser's question itself and marks the answers to allowed origins; it never refuses
a request that is no question.
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/cors_filter
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from meshwright.snapshot.extensions.additions import Additions
from meshwright.snapshot.extensions.filters import CORS
from meshwright.snapshot.messages import message, packed
from meshwright.snapshot.older import takes_cors
from meshwright.snapshot.resources import Clue

if TYPE_CHECKING:
    from meshwright.model.extensions import CorsSpec
    from meshwright.model.extensions.headers import OriginMatch
    from meshwright.model.state import Resource
    from meshwright.routing import Place
    from meshwright.snapshot.assembly import Assembly
    from meshwright.snapshot.values import Wire

_POLICY = "envoy.extensions.filters.http.cors.v3.CorsPolicy"


def added(assembly: Assembly, _place: Place, extension: Resource) -> Additions:
    """What a policy adds to a route; nothing where the Envoy would not take it."""
    if not takes_cors(assembly, extension.key):
        return Additions()
    spec = cast("CorsSpec", extension.spec)
    members: Wire = {
        "allow_origin_string_match": [_origin(one) for one in spec.allow_origins],
        "allow_methods": ",".join(spec.allow_methods or ()),
        "allow_headers": ",".join(spec.allow_headers or ()),
        "expose_headers": ",".join(spec.expose_headers or ()),
        # A question from elsewhere is answered too, without permission: an application need not know of any.
        "forward_not_matching_preflights": {"value": False},
    }
    if spec.max_age is not None:
        members["max_age"] = str(spec.max_age.milliseconds // 1000)
    if spec.allow_credentials is not None:
        members["allow_credentials"] = {"value": spec.allow_credentials}
    regexes = [one.regex for one in spec.allow_origins if one.regex is not None]
    return Additions(
        origins=(extension.key,),
        clues=tuple(Clue(text=text, origin=extension.key, regex=True) for text in regexes),
        filters={CORS: packed(message(_POLICY)(**members))},
        preflight=True,
    )


def _origin(origin: OriginMatch) -> Wire:
    if origin.regex is not None:
        return {"safe_regex": {"regex": origin.regex}}
    kinds = {"exact": origin.exact, "prefix": origin.prefix, "suffix": origin.suffix}
    return {kind: text for kind, text in kinds.items() if text is not None}
