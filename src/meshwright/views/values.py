"""JSON values of definitions and of Envoy's messages, shown to people on one line.

The one rule: nothing in a value steers a terminal, and a long one is cut where it can be seen.
"""

from __future__ import annotations

import msgspec

from meshwright.views.escaping import terminal

_LONGEST = 160


def value(given: object) -> str:
    """A JSON value on one line; `(none)` for an absent one, the middle left out of a long one."""
    if given is None:
        return "(none)"
    text = terminal(msgspec.json.encode(given).decode())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]} … {text[-17:]}"
