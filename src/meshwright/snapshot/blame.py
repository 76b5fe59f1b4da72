"""From Envoy's words to the object at fault: a rejection names a resource, which many objects may have shaped.

The one rule: point at an object only when its own text shows the fault; otherwise at all that shaped the resource.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import re2

if TYPE_CHECKING:
    from meshwright.model.identity import Key
    from meshwright.snapshot.resources import EnvoyResource

_SHORTEST = 3
"""Clues shorter than this occur in any message."""


def culprits(resource: EnvoyResource, message: str) -> tuple[Key, ...]:
    """The objects that most likely made Envoy reject `resource` with `message`, most likely first.

    Those whose regular expression RE2 refuses, else those of which a text occurs in the message, else all origins.
    """
    broken = [clue.origin for clue in resource.clues if clue.regex and _refused(clue.text)]
    quoted = [clue.origin for clue in resource.clues if len(clue.text) >= _SHORTEST and clue.text in message]
    return tuple(dict.fromkeys(broken or quoted)) or resource.origins


def _refused(regex: str) -> bool:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(regex, options)
    except re2.error:
        return True
    return False
