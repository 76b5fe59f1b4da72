"""Identity tokens of CI services: a signed JWT verified down to its claims; pure, keys and time are arguments.

The one rule: nothing in a token says how it is to be verified. The issuer's declaration names the algorithms, its key
set the keys; the header only points at one of them, and every doubt is a refusal with its reason.
Source: https://www.rfc-editor.org/rfc/rfc7519, https://www.rfc-editor.org/rfc/rfc8725 and
https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from meshwright.errors import RefusedError
from meshwright.trust.key_sets import from_base64url
from meshwright.trust.strict_json import AmbiguousJsonError, read_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshwright.trust.key_sets import TokenKey
    from meshwright.trust.settings import Issuer

INVALID_TOKEN = "InvalidIdentityToken"  # noqa: S105 - the name of an error
EXPIRED_TOKEN = "ExpiredTokenException"  # noqa: S105 - the name of an error
REJECTED_CLAIM = "IDPRejectedClaim"

MAX_TOKEN = 20_000
"""Characters of a token, as STS takes it."""
LEEWAY = 60
"""Seconds that the issuer's clock may be off."""
MAX_LIFETIME = 24 * 3600
"""Seconds from a token's issue to its end; a longer one is no proof of a job that runs now."""

_LATEST = 100_000_000_000
"""No time in seconds is later; one in milliseconds is."""
_MAX_HEADER = 4096
_MAX_KID = 256
_MAX_SUBJECT = 255
_STATUS: Mapping[str, int] = MappingProxyType({INVALID_TOKEN: 400, EXPIRED_TOKEN: 400, REJECTED_CLAIM: 403})
_VERIFIERS: Mapping[str, str] = MappingProxyType({"RS256": "RS256", "ES256": "ES256", "EdDSA": "Ed25519"})
"""Our names of algorithms (RFC 7518, RFC 8037), and joserfc's of the same (RFC 9864 renamed one)."""
_SAME = MappingProxyType({"Ed25519": "EdDSA"})
_KEYS_OF_ITS_OWN = ("jwk", "jku", "x5u")
_TYPES = frozenset({"jwt", "at+jwt"})
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class TokenError(RefusedError):
    """Nobody is who this token says: `str()` is the reason, `code` the name of STS's error for it."""

    def __init__(self, reason: str, code: str = INVALID_TOKEN) -> None:
        super().__init__(reason)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return _STATUS[self.code]


class UnknownKeyError(TokenError):
    """The token names a key that is not in the set that was given; a newer set may have it."""


class Unverified(msgspec.Struct, frozen=True, kw_only=True):
    """A token taken apart: what it says, of which nothing is known to be true."""

    header: dict[str, Any]
    payload: bytes
    signed: bytes
    """What the signature is over."""
    signature: bytes

    def claims(self) -> dict[str, Any]:
        """The payload as claims.

        Raises:
            TokenError: it is no JSON object, or one that could be read in two ways.
        """
        return _object("payload", self.payload)

    def issuer(self) -> str:
        """The issuer that it names.

        Raises:
            TokenError: it names none.
        """
        return _text(self.claims(), "iss")


def read_token(text: str) -> Unverified:
    """Take a token apart, in the compact form only; this decides whose keys to ask for, and nothing else.

    Raises:
        TokenError: it is not of the form, or could be read in two ways.
    """
    if len(text) > MAX_TOKEN:
        raise TokenError(f"The token has {len(text)} characters; {MAX_TOKEN} are the most.")
    if not _COMPACT.fullmatch(text):
        raise TokenError("The token is not a signed JWT: three parts of base64url without padding, joined by dots.")
    head, body, mark = text.split(".")
    if len(head) > _MAX_HEADER:
        raise TokenError("The token's header is too long.")
    parts = {"header": head, "payload": body, "signature": mark}
    found: dict[str, bytes] = {}
    for name, part in parts.items():
        try:
            found[name] = from_base64url(part)
        except ValueError as error:
            raise TokenError(f"The token's {name} is {error}.") from None
    return Unverified(
        header=_object("header", found["header"]),
        payload=found["payload"],
        signed=f"{head}.{body}".encode(),
        signature=found["signature"],
    )


def _object(name: str, text: bytes) -> dict[str, Any]:
    try:
        return read_object(text)
    except AmbiguousJsonError as error:
        raise TokenError(f"The token's {name} is refused: {error}.") from None


def verify_token(token: Unverified, keys: Sequence[TokenKey], issuer: Issuer, now: int) -> dict[str, Any]:
    """The claims of a token that `issuer` signed with one of `keys` for one of its audiences, valid at `now`.

    Args:
        token: what was taken apart.
        keys: the issuer's key set as it is known.
        issuer: what the operator declared.
        now: milliseconds since the epoch, UTC.

    Raises:
        UnknownKeyError: it may be valid with a newer key set.
        TokenError: it is not valid.
    """
    claims = token.claims()
    if _text(claims, "iss") != issuer.url:
        raise TokenError(f"The token's issuer is {claims['iss'][:200]!r}, not {issuer.url!r}.")
    verify_signature(token, keys, issuer.algorithms)
    _check_claims(claims, issuer, now // 1000)
    return claims


def verify_signature(token: Unverified, keys: Sequence[TokenKey], algorithms: Sequence[str]) -> None:
    """Return when one of `keys` signed the token, with one of `algorithms`; nothing is said about its payload.

    Raises:
        UnknownKeyError: the key that it names is not among them.
        TokenError: no key did, or the header asks for something else than a signature.
    """
    algorithm = _algorithm(token.header, algorithms)
    key = _chosen(keys, token.header, algorithm)
    verifier = JWSRegistry.algorithms[_VERIFIERS[algorithm]]
    try:
        verifier.check_key(key.material)
        sound = verifier.verify(token.signed, token.signature, key.material)
    except (JoseError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise TokenError("The token's signature is not its issuer's.")


def _algorithm(header: Mapping[str, Any], allowed: Sequence[str]) -> str:
    """The algorithm to verify with; whatever else the header asks for is refused."""
    named = header.get("alg")
    algorithm = _SAME.get(named, named) if isinstance(named, str) else None
    if algorithm is None or algorithm not in _VERIFIERS or algorithm not in allowed:
        raise TokenError(f"The token's algorithm is {str(named)[:32]!r}; its issuer may use {', '.join(allowed)}.")
    for name in ("crit", "b64", "zip", "enc", *_KEYS_OF_ITS_OWN):
        if name in header:
            raise TokenError(f"The token's header holds {name!r}, which no issuer here may use.")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise TokenError(f"The token's type is {str(kind)[:32]!r}; an identity token is of type JWT.")
    if "cty" in header:
        raise TokenError("The token holds another token; it must hold claims.")
    return algorithm


def _chosen(keys: Sequence[TokenKey], header: Mapping[str, Any], algorithm: str) -> TokenKey:
    """The one key that the header points at and that fits the algorithm."""
    kid = header.get("kid")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= _MAX_KID):
        raise TokenError(f"The token's kid is not a text of 1 to {_MAX_KID} characters.")
    fitting = [one for one in keys if one.algorithm == algorithm and (kid is None or one.kid == kid)]
    if kid is None and len({one.thumbprint for one in fitting}) > 1:
        raise TokenError(f"The token names no key, and its issuer has {len(fitting)} for {algorithm}.")
    if len({one.thumbprint for one in fitting}) > 1:
        raise TokenError(f"The issuer's key set has {len(fitting)} different {algorithm} keys called {kid!r}.")
    if not fitting:
        what = "names no key" if kid is None else f"names the key {kid!r}"
        raise UnknownKeyError(f"The token {what}, and its issuer's key set has none such for {algorithm}.")
    return fitting[0]


def _check_claims(claims: Mapping[str, Any], issuer: Issuer, now: int) -> None:
    """Time, audience and subject; the times are in seconds."""
    ends, issued = _time(claims, "exp"), _time(claims, "iat")
    if now >= ends + LEEWAY:
        raise TokenError(f"The token expired {_span(now - ends)} ago.", EXPIRED_TOKEN)
    if now < issued - LEEWAY:
        raise TokenError(f"The token was issued {_span(issued - now)} from now; compare clocks.", REJECTED_CLAIM)
    if "nbf" in claims and now < (begins := _time(claims, "nbf")) - LEEWAY:
        raise TokenError(f"The token is not valid before {_span(begins - now)} from now.", REJECTED_CLAIM)
    if ends <= issued or ends - issued > MAX_LIFETIME + LEEWAY:
        raise TokenError(
            f"The token lives for {_span(ends - issued)}; more than none and at most {MAX_LIFETIME} s are taken.",
            REJECTED_CLAIM,
        )
    _check_audience(claims, issuer.audiences)
    if not 0 < (length := len(_text(claims, "sub"))) <= _MAX_SUBJECT:
        raise TokenError(f"The token's subject has {length} characters; 1 to {_MAX_SUBJECT} are taken.")


def _check_audience(claims: Mapping[str, Any], audiences: Sequence[str]) -> None:
    found = claims.get("aud")
    named: list[Any] = found if isinstance(found, list) else [found]
    if not named or not all(isinstance(one, str) for one in named):
        raise TokenError("The token's audience (aud) is neither a text nor a list of texts.")
    if not set(named) & set(audiences):
        shown = ", ".join(repr(one[:100]) for one in named[:5])
        raise TokenError(f"Incorrect token audience: it is for {shown}, not for {', '.join(map(repr, audiences))}.")
    party = claims.get("azp")
    if party is not None and not isinstance(party, str):
        raise TokenError("The token's authorized party (azp) is not a text.", REJECTED_CLAIM)
    if party is not None and len(named) > 1 and party not in audiences:
        raise TokenError(
            f"The token is for several audiences and was issued to {party[:100]!r} (azp), which is none of ours.",
            REJECTED_CLAIM,
        )


def _text(claims: Mapping[str, Any], name: str) -> str:
    found = claims.get(name)
    if not isinstance(found, str):
        what = "is missing" if name not in claims else "is not a text"
        raise TokenError(f"The token's claim {name!r} {what}.")
    return found


def _time(claims: Mapping[str, Any], name: str) -> float:
    found = claims.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float):
        what = "is missing" if name not in claims else "is not a number"
        raise TokenError(f"The token's claim {name!r} {what}.")
    if not 0 <= found < _LATEST:
        raise TokenError(f"The token's claim {name!r} is no time in seconds since 1970.")
    return found


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s"
