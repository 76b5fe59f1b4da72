"""A token is what its issuer signed, for us, now; everything else is refused with its reason."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from issuing import CLAIMS, ISSUER, NOW, assembled, encoded, key_set, known, private_key, public, token
from meshwright.trust.key_sets import KeySetError, TokenKey, read_key_set
from meshwright.trust.settings import Issuer
from meshwright.trust.tokens import (
    EXPIRED_TOKEN,
    INVALID_TOKEN,
    MAX_TOKEN,
    REJECTED_CLAIM,
    TokenError,
    UnknownKeyError,
    read_token,
    verify_token,
)
from settings import examples

KEY = private_key()
KEYS = known(KEY, private_key("ES256"), private_key("EdDSA"))
THREE_PARTS = st.from_regex(r"[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{1,40}){2}", fullmatch=True)
ALGORITHMS = ("RS256", "ES256", "EdDSA")


def verified(text: str, keys: tuple[TokenKey, ...], issuer: Issuer, now: int) -> dict[str, Any]:
    """The claims of a token in compact form that holds."""
    return verify_token(read_token(text), keys, issuer, now)


def refused(text: str, keys: tuple[TokenKey, ...] = KEYS, issuer: Issuer = ISSUER) -> TokenError:
    """Why a token is refused; one that is accepted fails the test."""
    with pytest.raises(TokenError) as caught:
        verified(text, keys, issuer, NOW)
    assert "\n" not in str(caught.value)
    return caught.value


def rsa(bits: int, exponent: int = 65_537) -> dict[str, Any]:
    """A public JWK with an odd modulus of so many bits, of which nobody knows the factors."""
    modulus = int.from_bytes(hashlib.sha512(b"m").digest() * 40) >> (64 * 8 * 40 - bits) | 1 | 1 << (bits - 1)
    numbers = {"n": modulus.to_bytes((bits + 7) // 8), "e": exponent.to_bytes((exponent.bit_length() + 7) // 8)}
    return {"kty": "RSA", "kid": "k", **{name: encoded(number) for name, number in numbers.items()}}


def keys_of(*entries: dict[str, Any]) -> bytes:
    """A JWK set with these entries."""
    return json.dumps({"keys": entries}).encode()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_each_algorithm_gives_its_claims(algorithm: str) -> None:
    """All of them, as they were signed."""
    assert verified(token(private_key(algorithm)), KEYS, ISSUER, NOW) == CLAIMS


def test_the_new_name_of_an_algorithm_is_known() -> None:
    """RFC 9864 calls EdDSA over Ed25519 by its curve."""
    named = token(private_key("EdDSA"), header={"alg": "Ed25519"})
    assert verified(named, KEYS, ISSUER, NOW) == CLAIMS


@pytest.mark.parametrize(
    "header",
    [{"typ": None}, {"typ": "application/JWT"}, {"typ": "at+jwt"}, {"x5t": "AA"}, {"x5c": ["AA"]}, {"nonce": "x"}],
)
def test_headers_that_decide_nothing_are_ignored(header: dict[str, Any]) -> None:
    """Issuers send certificates and hints along."""
    assert verified(token(header=header), KEYS, ISSUER, NOW) == CLAIMS


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "nOnE"},
        {"alg": ""},
        {"alg": None},
        {"alg": ["RS256"]},
        {"alg": 5},
        {"alg": "HS256"},
        {"alg": "RS384"},
        {"alg": "PS256"},
        {"alg": "ES384"},
        {"alg": "RSA-OAEP"},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"jwk": {"kty": "RSA"}},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": 1},
        {"cty": "JWT"},
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {"kid": "k" * 257},
        {"kid": ""},
        {"kid": 7},
        {"kid": ["RS256-one"]},
    ],
    ids=str,
)
def test_a_header_that_asks_for_something_else_is_refused(header: dict[str, Any]) -> None:
    """Though the signature is right; what it points at decides nothing."""
    assert refused(token(header=header)).code == INVALID_TOKEN


def test_an_unsigned_token_is_refused() -> None:
    """With and without an empty signature, in any spelling."""
    for name in ("none", "NONE", "None"):
        bare = f"{encoded({'alg': name})}.{encoded(CLAIMS)}"
        refused(bare)
        refused(f"{bare}.")
        refused(f"{bare}.AA")


def test_a_public_key_is_no_secret_of_an_hmac() -> None:
    """Key confusion: HS256 over the public key in each form in which an attacker has it."""
    forms = [KEY.as_pem(private=False), key_set(KEY), json.dumps(public(KEY)).encode(), KEY.as_der(private=False)]
    for form in forms:
        signed = f"{encoded({'alg': 'HS256', 'kid': KEY.kid})}.{encoded(CLAIMS)}"
        mark = hmac.digest(form, signed.encode(), "sha256")
        forged = f"{signed}.{encoded(mark)}"
        refused(forged)
        # Even an operator who could allow it would get nothing: only three algorithms are known.
        allowing = ISSUER.__class__(url=ISSUER.url, audiences=ISSUER.audiences, algorithms=("RS256",))
        refused(forged, issuer=allowing)


def test_an_embedded_key_verifies_nothing() -> None:
    """Signed by the attacker's key, which comes along."""
    evil = private_key("RS256", "evil")
    for kid in (KEY.kid, evil.kid, None):
        refused(token(evil, header={"jwk": public(evil), "kid": kid}))
        refused(token(evil, header={"kid": kid}))
        refused(token(evil, header={"x5c": [base64.b64encode(evil.as_der(private=False)).decode()], "kid": kid}))


def test_another_algorithm_than_the_issuer_may_use_is_refused() -> None:
    """Although its key set has a key for it."""
    only = Issuer(url=ISSUER.url, audiences=ISSUER.audiences, algorithms=("RS256",))
    assert "may use RS256" in str(refused(token(private_key("ES256")), issuer=only))


def test_a_key_of_another_algorithm_is_never_used() -> None:
    """The header names an algorithm and a key that do not belong together."""
    for algorithm in ALGORITHMS:
        for other in set(ALGORITHMS) - {algorithm}:
            refused(token(private_key(algorithm), header={"kid": private_key(other).kid}))
            refused(token(private_key(algorithm), header={"alg": other}))


def test_an_unknown_key_is_told_from_a_wrong_one() -> None:
    """A newer key set may have it."""
    assert isinstance(refused(token(private_key("RS256", "new"))), UnknownKeyError)
    assert not isinstance(refused(token(private_key("RS256", "new"), header={"kid": KEY.kid})), UnknownKeyError)
    assert isinstance(refused(token(), keys=()), UnknownKeyError)


def test_a_token_without_a_kid_takes_the_only_key_there_is() -> None:
    """And none where two would do."""
    assert verified(token(header={"kid": None}), KEYS, ISSUER, NOW) == CLAIMS
    two = known(KEY, private_key("RS256", "new"))
    assert "names no key" in str(refused(token(header={"kid": None}), keys=two))


def test_two_keys_of_one_name_are_no_choice() -> None:
    """Unless they are the same key."""
    twice = read_key_set(keys_of(public(KEY), public(private_key("RS256", "new"), kid=KEY.kid)))
    assert "different RS256 keys" in str(refused(token(), keys=twice.keys))
    same = read_key_set(keys_of(public(KEY), public(KEY, use="sig")))
    assert len(same.keys) == 1
    mixed = read_key_set(keys_of(public(KEY), public(private_key("ES256"), kid=KEY.kid)))
    assert verified(token(), mixed.keys, ISSUER, NOW) == CLAIMS


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"iss": "https://ci.example/"}, INVALID_TOKEN),
        ({"iss": "https://CI.example"}, INVALID_TOKEN),
        ({"iss": "https://evil.example"}, INVALID_TOKEN),
        ({"iss": None}, INVALID_TOKEN),
        ({"iss": ["https://ci.example"]}, INVALID_TOKEN),
        ({"aud": "sts.amazonaws.com"}, INVALID_TOKEN),
        ({"aud": "Meshwright"}, INVALID_TOKEN),
        ({"aud": "meshwright "}, INVALID_TOKEN),
        ({"aud": ["a", "b"]}, INVALID_TOKEN),
        ({"aud": []}, INVALID_TOKEN),
        ({"aud": None}, INVALID_TOKEN),
        ({"aud": ["meshwright", 5]}, INVALID_TOKEN),
        ({"aud": {"meshwright": True}}, INVALID_TOKEN),
        ({"aud": ["meshwright", "x"], "azp": "x"}, REJECTED_CLAIM),
        ({"aud": "meshwright", "azp": 5}, REJECTED_CLAIM),
        ({"sub": None}, INVALID_TOKEN),
        ({"sub": ""}, INVALID_TOKEN),
        ({"sub": 5}, INVALID_TOKEN),
        ({"sub": "s" * 256}, INVALID_TOKEN),
        ({"exp": NOW // 1000 - 60}, EXPIRED_TOKEN),
        ({"exp": 0}, EXPIRED_TOKEN),
        ({"exp": None}, INVALID_TOKEN),
        ({"exp": str(NOW // 1000 + 600)}, INVALID_TOKEN),
        ({"exp": True}, INVALID_TOKEN),
        ({"exp": [NOW // 1000 + 600]}, INVALID_TOKEN),
        ({"exp": NOW + 600_000}, INVALID_TOKEN),
        ({"exp": -1}, INVALID_TOKEN),
        ({"exp": 1e30}, INVALID_TOKEN),
        ({"exp": NOW // 1000 + 90_000}, REJECTED_CLAIM),
        ({"exp": NOW // 1000 - 20}, REJECTED_CLAIM),
        ({"iat": None}, INVALID_TOKEN),
        ({"iat": "now"}, INVALID_TOKEN),
        ({"iat": NOW // 1000 + 61}, REJECTED_CLAIM),
        ({"iat": NOW // 1000 - 90_000}, REJECTED_CLAIM),
        ({"nbf": NOW // 1000 + 61}, REJECTED_CLAIM),
        ({"nbf": "x"}, INVALID_TOKEN),
    ],
    ids=str,
)
def test_a_token_of_somebody_else_for_somebody_else_or_of_another_time_is_refused(
    claims: dict[str, Any], code: str
) -> None:
    """Each with STS's name for it."""
    assert refused(token(**claims)).code == code


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["other", "meshwright"]},
        {"aud": ["other", "meshwright"], "azp": "meshwright"},
        {"azp": "some-client"},
        {"exp": NOW // 1000 - 59, "iat": NOW // 1000 - 100},
        {"iat": NOW // 1000 + 59},
        {"nbf": NOW // 1000 + 59},
        {"exp": NOW / 1000 + 0.5},
        {"iat": NOW // 1000, "exp": NOW // 1000 + 86_400},
    ],
    ids=str,
)
def test_what_is_within_the_limits_is_taken(claims: dict[str, Any]) -> None:
    """A minute of leeway; one of several audiences; a day at most."""
    assert verified(token(**claims), KEYS, ISSUER, NOW)["sub"] == CLAIMS["sub"]


@pytest.mark.parametrize(
    "payload",
    [
        '{"iss":"https://ci.example","iss":"https://evil.example"}',
        json.dumps(CLAIMS)[:-1] + ',"sub":"somebody"}',
        json.dumps(CLAIMS)[:-1] + ',"x":{"a":1,"a":2}}',
        json.dumps(CLAIMS)[:-1] + ',"\\u0073ub":"somebody"}',
        json.dumps(CLAIMS)[:-1] + ',"x":NaN}',
        json.dumps(CLAIMS)[:-1] + ',"x":Infinity}',
        json.dumps(CLAIMS)[:-1] + ',"x":1e999}',
        json.dumps(CLAIMS)[:-1] + ',"x":' + "9" * 100 + "}",
        json.dumps(CLAIMS)[:-1] + ',"x":9223372036854775808}',
        json.dumps(CLAIMS)[:-1] + ',"x":"\\ud800"}',
        json.dumps(CLAIMS)[:-1] + ',"x":' + "[" * 9 + "]" * 9 + "}",
        json.dumps(CLAIMS)[:-1] + ',"x":' + "[" * 3000 + "]" * 3000 + "}",
        json.dumps(CLAIMS) + "x",
        json.dumps([CLAIMS]),
        json.dumps(CLAIMS).replace(" ", "")[:-1],
        b"\xff\xfe",
        b"\xef\xbb\xbf" + json.dumps(CLAIMS).encode(),
        "null",
    ],
    ids=range(18),
)
def test_a_payload_with_two_meanings_is_refused_although_it_is_signed(payload: str | bytes) -> None:
    """Duplicate members, numbers that are none, texts that are none, and what is no object."""
    text = assembled({"alg": "RS256", "kid": KEY.kid}, payload, KEY)
    assert "payload is refused" in str(refused(text))


def test_a_header_with_two_meanings_is_refused() -> None:
    """The same rules."""
    header = f'{{"alg":"RS256","alg":"none","kid":"{KEY.kid}"}}'
    assert "header is refused: the member 'alg' comes more than once" in str(refused(assembled(header, CLAIMS, KEY)))


def test_a_token_cut_or_lengthened_anywhere_is_refused() -> None:
    """At each character of the signature, and at every boundary."""
    whole = token(private_key("ES256"))
    head, body, mark = whole.split(".")
    for end in range(len(whole) - 90, len(whole)):
        refused(whole[:end])
    broken = (
        f"{head}.{body}", f"{head}..{mark}", f".{body}.{mark}", f"{head}.{body}.", "", ".", "..", "...",
        f"{whole}.", f"{whole}.{mark}", f"{whole}=", f"{whole} ", f" {whole}", f"{whole}\n", whole.replace(".", ". "),
        f"{head}=.{body}.{mark}", json.dumps({"protected": head, "payload": body, "signature": mark}),
        f"{head}.{body}.{mark[:-1]}é", "x" * (MAX_TOKEN + 1),
    )  # fmt: skip
    for one in broken:
        refused(one)


def test_the_last_character_may_not_be_spelt_in_another_way() -> None:
    """Its unused bits are zero, or one token would have several texts."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    whole = token(private_key("ES256"))
    others = [letter for letter in alphabet if letter != whole[-1]]
    for letter in others:
        refused(whole[:-1] + letter)


@settings(max_examples=examples(50))
@given(data=st.data())
def test_any_changed_character_is_refused(data: st.DataObject) -> None:
    """In the header, the payload or the signature."""
    whole = token(private_key(data.draw(st.sampled_from(ALGORITHMS))))
    place = data.draw(st.integers(0, len(whole) - 1))
    letter = data.draw(st.sampled_from("AZaz09-_.=+/ é"))
    if whole[place] != letter:
        refused(whole[:place] + letter + whole[place + 1 :])


@settings(max_examples=examples(50))
@given(text=st.one_of(st.text(max_size=200), THREE_PARTS))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    """It is refused, in one line."""
    refused(text)


def test_signatures_that_are_no_numbers_of_the_curve_are_refused() -> None:
    """Zero, the order, more than the order, DER in place of r and s, one byte more or less."""
    key = private_key("ES256")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    signed = f"{encoded({'alg': 'ES256', 'kid': key.kid})}.{encoded(CLAIMS)}"
    for r in (0, 1, order - 1, order, order + 1, (1 << 256) - 1):
        for s in (0, 1, order - 1, order, order + 1, (1 << 256) - 1):
            refused(f"{signed}.{encoded(r.to_bytes(32) + s.to_bytes(32))}")
    head, body, mark = token(key).split(".")
    right = base64.urlsafe_b64decode(mark + "==")
    shifted = (right[:-1], right + b"\0", b"\0" + right, right[:32], right + right, right[32:] + right[:32])
    for other in (*shifted, b"\0" * 64):
        refused(f"{head}.{body}.{encoded(other)}")
    r, s = int.from_bytes(right[:32]), int.from_bytes(right[32:])
    refused(f"{head}.{body}.{encoded(encode_dss_signature(r, s))}")


def test_the_other_signature_of_the_same_curve_point_changes_nothing() -> None:
    """(r, n - s) verifies wherever (r, s) does: ECDSA's own property. Nothing here is found by a token's text."""
    key = private_key("ES256")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, body, mark = token(key).split(".")
    right = base64.urlsafe_b64decode(mark + "==")
    other = right[:32] + (order - int.from_bytes(right[32:])).to_bytes(32)
    assert verified(f"{head}.{body}.{encoded(other)}", KEYS, ISSUER, NOW) == CLAIMS


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (rsa(1024), "1024 bits"),
        (rsa(2047), "2047 bits"),
        (rsa(16_384), "16384 bits"),
        (rsa(2048, 1), "exponent"),
        (rsa(2048, 3), "exponent"),
        (rsa(2048, 65_536), "exponent"),
        (rsa(2048, (1 << 33) + 1), "exponent"),
        (rsa(2048) | {"n": "AA=="}, "'n' is not base64url"),
        (rsa(2048) | {"n": 5}, "'n' is not base64url"),
        (rsa(2048) | {"use": "enc"}, "use"),
        (rsa(2048) | {"use": None}, "use"),
        (rsa(2048) | {"key_ops": ["encrypt"]}, "key_ops"),
        (rsa(2048) | {"key_ops": "verify"}, "key_ops"),
        (rsa(2048) | {"alg": "PS256"}, "algorithm"),
        (rsa(2048) | {"alg": "RS512"}, "algorithm"),
        (rsa(2048) | {"kid": 5}, "kid"),
        ({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}, "curve"),
        ({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}, "curve"),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "make no key"),
        ({"kty": "OKP", "crv": "Ed448", "x": "AA"}, "curve"),
        ({"kty": "OKP", "crv": "X25519", "x": "A" * 43}, "curve"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AA"}, "make no key"),
        ({"kty": "AKP", "alg": "ML-DSA-44"}, "type"),
        ({}, "type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_keys_that_are_weak_or_for_something_else_are_left_out(entry: dict[str, Any], why: str) -> None:
    """With the reason; the keys beside them are used."""
    found = read_key_set(keys_of(entry, public(KEY)))
    assert [one.kid for one in found.keys] == [KEY.kid]
    assert why in found.left_out[0]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=examples(50))
@given(
    base=st.sampled_from([*(public(private_key(one)) for one in ALGORITHMS), {}]),
    members=st.dictionaries(
        st.sampled_from(["kty", "crv", "n", "e", "x", "y", "alg", "use", "key_ops", "kid"]), ANYTHING
    ),
)
def test_no_key_set_makes_the_reader_fail_otherwise(base: dict[str, Any], members: dict[str, Any]) -> None:
    """Whatever stands where a text should: the key is used, left out, or the set refused."""
    with contextlib.suppress(KeySetError):
        found = read_key_set(keys_of({**base, **members}))
        assert len(found.keys) + len(found.left_out) == 1


@settings(max_examples=examples(50))
@given(members=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "cty", "x5c", "b64"]), ANYTHING))
def test_no_header_makes_the_verification_fail_otherwise(members: dict[str, Any]) -> None:
    """It is refused, or what was changed means nothing."""
    with contextlib.suppress(TokenError):
        header = {"alg": "ES256", "kid": "ES256-one", **members}
        assert verified(assembled(header, CLAIMS, private_key("ES256")), KEYS, ISSUER, NOW) == CLAIMS


@settings(max_examples=examples(50))
@given(claims=st.dictionaries(st.sampled_from([*CLAIMS, "nbf", "azp"]), ANYTHING))
def test_no_claims_make_the_verification_fail_otherwise(claims: dict[str, Any]) -> None:
    """Whatever stands where a time or a text should."""
    with contextlib.suppress(TokenError):
        given_ = {**CLAIMS, **claims}
        found = verified(assembled({"alg": "ES256"}, given_, private_key("ES256")), KEYS, ISSUER, NOW)
        assert (found["iss"], found["sub"]) == (CLAIMS["iss"], given_["sub"])


def test_a_point_beside_its_curve_is_no_key() -> None:
    """An invalid curve attack."""
    entry = public(private_key("ES256"))
    beside = int.from_bytes(base64.urlsafe_b64decode(entry["y"] + "=")) ^ 1
    found = read_key_set(keys_of(entry | {"y": encoded(beside.to_bytes(32))}))
    assert found.keys == ()


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"keys": [KEY.as_dict(private=True)]}).encode(),
        keys_of(public(KEY), {"kty": "oct", "k": "AA", "alg": "HS256"}),
        keys_of({"kty": "oct"}),
        keys_of(public(KEY) | {"d": "AA"}),
        b'{"keys":[],"keys":[]}',
        b'{"keys":{}}',
        b'{"keys":["x"]}',
        b"{}",
        b"[]",
        b"",
        b"<html>",
        keys_of(*[public(KEY)] * 65),
    ],
    ids=range(12),
)
def test_a_key_set_that_cannot_be_trusted_is_refused_whole(text: bytes) -> None:
    """A published secret is everybody's, and its issuer's other keys are in doubt."""
    with pytest.raises(KeySetError) as caught:
        read_key_set(text)
    assert str(KEY.as_dict(private=True)["d"]) not in str(caught.value)


def test_what_is_refused_quickly_costs_little() -> None:
    """The largest token that is read, of every hostile shape, is refused in the time of a few signatures.

    Told as a ratio to a verification in the same run, so that a slow machine changes nothing.
    """
    began = time.perf_counter()
    for _ in range(20):
        verified(token(private_key("ES256")), KEYS, ISSUER, NOW)
    usual = time.perf_counter() - began
    hostile = [
        encoded({"alg": "RS256"}) + "." + encoded("[" * 14_000) + ".AA",
        encoded({"alg": "RS256"}) + "." + encoded('{"a":' * 2800) + ".AA",
        encoded({"alg": "RS256"}) + "." + encoded("{" + '"a":1,' * 2300 + '"b":2}') + ".AA",
        encoded({"alg": "RS256"}) + "." + encoded('{"a":' + "9" * 14_000 + "}") + ".AA",
        "A" * MAX_TOKEN,
    ]
    began = time.perf_counter()
    for one in hostile * 20:
        refused(one)
    assert time.perf_counter() - began < 100 * max(usual, 0.01)


def test_an_unverified_token_tells_its_issuer_and_nothing_is_believed() -> None:
    """Which decides whose keys are asked for."""
    assert read_token(token(iss="https://evil.example")).issuer() == "https://evil.example"
    with pytest.raises(TokenError, match="'iss' is missing"):
        read_token(token(iss=None)).issuer()


def test_a_key_shows_no_numbers() -> None:
    """What is printed of it is its name."""
    assert str(KEYS[0]) == "TokenKey(kid='RS256-one', algorithm='RS256')"
    assert isinstance(KEYS[0].material, RSAKey)
    assert not KEYS[0].material.is_private
