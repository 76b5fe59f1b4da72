"""Published attacks on signed tokens and their keys (Wycheproof), read where they lie beside the project.

Every token that the vectors call invalid is refused, whatever its algorithm. Of those that they call valid, the ones
of our three algorithms are accepted; the exceptions are listed with their reasons.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from meshwright.trust.key_sets import KeySetError, TokenKey, read_key_set
from meshwright.trust.tokens import TokenError, read_token, verify_signature
from settings import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = SHARED / "vectors" / "jwt"
FILES = ("json_web_signature_test", "json_web_key_test", "json_web_crypto_test")
ALGORITHMS = ("RS256", "ES256", "EdDSA")
EMPTY_PAYLOAD = "emptyPayload"
"""A valid signature over nothing: nothing is no claims, so that it is refused as a token before its signature."""
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the published vectors are not beside the project")


def cases() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each case's name, its public key or key set, and the case."""
    for name in FILES:
        path = FOLDER / f"{name}.json"
        groups = json.loads(path.read_text(encoding="utf-8"))["testGroups"] if path.is_file() else []
        for group in groups:
            key = group.get("public") or group["private"]
            for case in group["tests"]:
                yield f"{name}-{case['tcId']}", key, case


def is_ours(key: dict[str, Any]) -> bool:
    """Whether a key, or one of a set, is for an algorithm that an issuer here may use."""
    return any(one.get("alg") in ALGORITHMS for one in key.get("keys", [key]))


def outcome(key: dict[str, Any], token: Any) -> str:
    """`accepted`, or why not; a JSON serialisation is given as the text that a client would send."""
    entries = key.get("keys", [key])
    try:
        keys: tuple[TokenKey, ...] = read_key_set(json.dumps({"keys": entries}).encode()).keys
        verify_signature(read_token(token if isinstance(token, str) else json.dumps(token)), keys, ALGORITHMS)
    except (TokenError, KeySetError) as error:
        return str(error)
    return "accepted"


def test_every_invalid_vector_is_refused() -> None:
    """Of all algorithms, JWE among them."""
    wrong = [
        (name, case["comment"])
        for name, key, case in cases()
        if case["result"] == "invalid" and outcome(key, case.get("jws", case.get("jwe"))) == "accepted"
    ]
    assert wrong == []
    assert sum(case["result"] == "invalid" for _, _, case in cases()) > 400


def test_every_valid_vector_of_our_algorithms_is_accepted() -> None:
    """Every other one is of an algorithm that no issuer here may use."""
    mine = [
        (name, case["comment"], outcome(key, case["jws"]))
        for name, key, case in cases()
        if case["result"] == "valid" and is_ours(key)
    ]
    refused = [one for one in mine if one[2] != "accepted"]
    assert [comment for _, comment, _ in refused] == [EMPTY_PAYLOAD]
    assert "three parts" in refused[0][2]
    assert len(mine) > 8


def test_valid_vectors_of_other_algorithms_are_refused() -> None:
    """HMAC, PSS, other hashes and encryption: none of them proves that an issuer's public key signed it."""
    others = [
        outcome(key, case.get("jws", case.get("jwe")))
        for _, key, case in cases()
        if case["result"] == "valid" and not is_ours(key)
    ]
    assert others
    assert "accepted" not in others
