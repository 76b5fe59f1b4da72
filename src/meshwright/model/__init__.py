"""The seven App Mesh resources and our extensions as frozen values, their identity, and the state they make up.

Snake case here, wire names as aliases; unknown members are refused. `tests/test_model_conformance.py` walks the
published 2019-01-25 service model member by member and fails on any difference.
"""

from meshwright.model.decoding import DecodeError, Problem, decode, encode
from meshwright.model.identity import (
    EXTENSION_KINDS,
    PORTABLE_KINDS,
    Key,
    Kind,
    parse_key,
    qualified,
    split_mesh,
)
from meshwright.model.state import SPECS, Extension, Metadata, Resource, Spec, State, digest

__all__ = [
    "EXTENSION_KINDS",
    "PORTABLE_KINDS",
    "SPECS",
    "DecodeError",
    "Extension",
    "Key",
    "Kind",
    "Metadata",
    "Problem",
    "Resource",
    "Spec",
    "State",
    "decode",
    "digest",
    "encode",
    "parse_key",
    "qualified",
    "split_mesh",
]
