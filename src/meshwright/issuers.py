"""The key sets of OIDC issuers: found by discovery, fetched, and kept for as long as they may be.

The one rule: requests go to addresses that the operator declared and to the `jwks_uri` of a declared issuer's own
document, never to one that a token or an unfinished answer names; they are few, small, short and not redirected,
whatever tokens come in.
Source: https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import re
import ssl
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, TypeAlias
from urllib.parse import urlsplit

import httpx
import msgspec

from meshwright.errors import UnreachableError
from meshwright.trust.addresses import is_loopback, is_safe
from meshwright.trust.key_sets import KeySet, KeySetError, read_key_set
from meshwright.trust.strict_json import AmbiguousJsonError, read_object
from meshwright.trust.tokens import UnknownKeyError, verify_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from meshwright.trust.settings import Issuer
    from meshwright.trust.tokens import Unverified

_Place: TypeAlias = tuple[str, str | None, str | None]

_log = logging.getLogger(__name__)
_DISCOVERY = "/.well-known/openid-configuration"
_MAX_AGE = re.compile(r"\s*max-age\s*=\s*\"?([0-9]{1,9})\"?\s*", re.IGNORECASE)


class IssuerUnavailableError(UnreachableError):
    """An issuer's keys cannot be had, and none are kept that may still be used; `str()` says why."""

    told: ClassVar[str] = "The keys of the token's issuer cannot be had; the server's log says why."
    """What whoever sent the token may read: anybody may name an issuer."""


class KeyNotSoughtError(IssuerUnavailableError):
    """The token names a key that is not among those kept, and its issuer could not be asked for newer ones."""

    told: ClassVar[str] = (
        "The token's issuer could not be reached to look for the key that the token names; the server's log says why."
    )


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is asked of issuers and taken from them; times in seconds, sizes in bytes."""

    patience: float = 5.0
    """For the discovery document and the key set together."""
    document: int = 64 << 10
    keys: int = 256 << 10
    usual: float = 600.0
    """How long keys are fresh whose issuer does not say so."""
    shortest: float = 60.0
    longest: float = 3600.0
    """Between these an issuer's own Cache-Control is followed."""
    refresh: float = 30.0
    """At most once in so long an unknown key has the set fetched before its time."""
    retry: float = 5.0
    """After a failure nothing is fetched for so long; callers get the same failure, or the keys that are kept."""
    stale: float = 4 * 3600.0
    """Keys that are not fresh any more are used until so long after they were fetched, while nobody answers."""


@dataclasses.dataclass
class _Kept:
    """What is known of one issuer."""

    issuer: Issuer
    keys: KeySet | None = None
    fetched: float = 0.0
    fresh_until: float = 0.0
    attempted: float = float("-inf")
    failure: str = ""
    """Why the last attempt failed; "" where it did not."""
    fetching: asyncio.Task[None] | None = None


class Issuers:
    """Every declared issuer's keys, on one event loop. Many may ask at once; one of them fetches."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        limits: Limits | None = None,
        own: Mapping[str, Callable[[], KeySet]] = MappingProxyType({}),
    ) -> None:
        """`clock` counts seconds and never goes back; `own` are the keys of issuers in this process, by their URL."""
        self._own = own
        self._clock = clock
        self._limits = limits or Limits()
        self._kept: dict[_Place, _Kept] = {}

    async def verify(self, token: Unverified, issuer: Issuer, now: int) -> dict[str, Any]:
        """The claims of `token`, if `issuer` signed it; asks for newer keys, once, where the token names a new one.

        Raises:
            TokenError: it did not, or the token is not valid at `now`, in milliseconds since the epoch.
            IssuerUnavailableError: nobody can tell; a `KeyNotSoughtError` where newer keys could.
        """
        if issuer.url in self._own:
            return verify_token(token, self._own[issuer.url]().keys, issuer, now)
        keys = await self.keys(issuer)
        try:
            return verify_token(token, keys.keys, issuer, now)
        except UnknownKeyError as error:
            newer = await self.refreshed(issuer, keys)
            if newer is keys:
                if failure := self._of(issuer).failure:
                    told = f"{error} The issuer {issuer.url} could not be reached to look for the key: {failure}."
                    raise KeyNotSoughtError(told) from None
                raise
        return verify_token(token, newer.keys, issuer, now)

    async def keys(self, issuer: Issuer) -> KeySet:
        """The issuer's keys, fetched where none are kept or their time is over.

        Raises:
            IssuerUnavailableError: they cannot be fetched, and none are kept or they are too old.
        """
        kept = self._of(issuer)
        if kept.keys is None or self._clock() >= kept.fresh_until:
            fetching = self._begun(kept, self._limits.retry if kept.failure else 0.0)
            # In an outage, what is kept is used at once; only who has nothing, or is the first to ask, waits.
            if fetching is not None and not (kept.failure and self._usable(kept)):
                await asyncio.shield(fetching)
        if kept.keys is None or not self._usable(kept):
            raise IssuerUnavailableError(f"The keys of the issuer {issuer.url} cannot be had: {kept.failure}.")
        return kept.keys

    async def refreshed(self, issuer: Issuer, seen: KeySet) -> KeySet:
        """A newer key set than `seen`, or `seen` where there is none or it was asked for a moment ago."""
        kept = self._of(issuer)
        if kept.keys is seen and (fetching := self._begun(kept, self._limits.refresh)) is not None:
            await asyncio.shield(fetching)
        return kept.keys or seen

    async def close(self) -> None:
        """End what is being fetched."""
        tasks = [one.fetching for one in self._kept.values() if one.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _of(self, issuer: Issuer) -> _Kept:
        place = (issuer.url, issuer.jwks_url, issuer.ca_file)
        return self._kept.setdefault(place, _Kept(issuer))

    def _usable(self, kept: _Kept) -> bool:
        return kept.keys is not None and self._clock() < kept.fetched + max(self._limits.stale, self._limits.longest)

    def _begun(self, kept: _Kept, pause: float) -> asyncio.Task[None] | None:
        """The fetch under way, or a new one where the last began `pause` seconds ago.

        Who asks may go away; a fetch is for all and is not cancelled with its first caller.
        """
        if kept.fetching is None and self._clock() >= kept.attempted + pause:
            kept.attempted = self._clock()
            kept.fetching = asyncio.create_task(self._fetch(kept), name=f"keys of {kept.issuer.url}")
        return kept.fetching

    async def _fetch(self, kept: _Kept) -> None:
        issuer = kept.issuer
        try:
            async with asyncio.timeout(self._limits.patience):
                keys, seconds = await _asked(issuer, self._limits)
        except TimeoutError:
            kept.failure = f"no whole answer within {self._limits.patience:g} s"
        except (_AnswerError, KeySetError) as error:
            kept.failure = str(error).rstrip(".")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            kept.failure = f"{type(error).__name__}: {str(error)[:200]}"
        else:
            for reason in keys.left_out:
                _log.info("a key of the issuer %s is not used: %s", issuer.url, reason)
            kept.keys, kept.fetched, kept.failure = keys, self._clock(), ""
            kept.fresh_until = kept.fetched + seconds
            return
        finally:
            kept.fetching = None
        age = f"keys of {self._clock() - kept.fetched:.0f} s ago are kept" if kept.keys else "no keys are kept"
        _log.warning("the issuer %s cannot be asked for its keys, %s: %s", issuer.url, age, kept.failure)


class _AnswerError(Exception):
    """An answer, or an address, that is not used."""


async def _asked(issuer: Issuer, limits: Limits) -> tuple[KeySet, float]:
    """The issuer's keys as they are now, and for how many seconds they are fresh."""
    for address in (issuer.url, *filter(None, [issuer.jwks_url])):
        if not is_safe(address):
            raise _AnswerError(f"{address} is not https://, which only an address of this machine may do without")
    # The system's certificates take some milliseconds to read, and are read anew in case they changed.
    trusted = await asyncio.to_thread(_certificates, issuer.ca_file)
    async with httpx.AsyncClient(
        verify=trusted,
        trust_env=False,
        follow_redirects=False,
        timeout=limits.patience,
        headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "meshwright"},
    ) as client:
        address = issuer.jwks_url or await _discovered(client, issuer, limits)
        text, headers = await _read(client, address, limits.keys)
    keys = read_key_set(text)
    if not keys.keys:
        reasons = "; ".join(keys.left_out[:3])
        raise _AnswerError(f"{address} holds no key that can be used{f' ({reasons})' if reasons else ''}")
    return keys, _freshness(headers.get("cache-control", ""), limits)


async def _discovered(client: httpx.AsyncClient, issuer: Issuer, limits: Limits) -> str:
    """The address of the key set in the issuer's own document."""
    place = issuer.url.rstrip("/") + _DISCOVERY
    text, _ = await _read(client, place, limits.document)
    try:
        found = read_object(text)
    except AmbiguousJsonError as error:
        raise _AnswerError(f"{place} is refused: {error}") from None
    if found.get("issuer") != issuer.url:
        raise _AnswerError(f"{place} is of the issuer {str(found.get('issuer'))[:200]!r}, not of {issuer.url!r}")
    address = found.get("jwks_uri")
    if not isinstance(address, str) or not _may_follow(issuer.url, address):
        raise _AnswerError(f"{place} gives the jwks_uri {str(address)[:200]!r}, which is not followed")
    return address


async def _read(client: httpx.AsyncClient, address: str, limit: int) -> tuple[bytes, httpx.Headers]:
    """The body and headers of a 200, as it was sent."""
    async with client.stream("GET", address) as answer:
        if answer.status_code != 200:
            redirect = ", and redirects are not followed" if answer.is_redirect else ""
            raise _AnswerError(f"{address} answered with HTTP {answer.status_code}{redirect}")
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise _AnswerError(f"{address} answered with something compressed, which was not asked for")
        body = bytearray()
        async for part in answer.aiter_raw():
            body += part
            if len(body) > limit:
                raise _AnswerError(f"{address} answered with more than {limit} bytes")
        return bytes(body), answer.headers


def _certificates(ca_file: str | None) -> ssl.SSLContext:
    return (
        httpx.create_ssl_context(trust_env=False) if ca_file is None else ssl.create_default_context(cafile=ca_file)
    )


def _freshness(control: str, limits: Limits) -> float:
    """Seconds, from a Cache-Control header, within the limits."""
    words = control.split(",")
    if any(word.strip().lower() in {"no-store", "no-cache"} for word in words):
        return limits.shortest
    for word in words:
        if found := _MAX_AGE.fullmatch(word):
            return min(max(float(found[1]), limits.shortest), limits.longest)
    return limits.usual


def _may_follow(url: str, address: str) -> bool:
    """Whether a document of the issuer `url` may send us to `address`: another host, but no inner one."""
    if not is_safe(address):
        return False
    own, other = urlsplit(url), urlsplit(address)
    if other.scheme == "http" and own.scheme != "http":
        return False
    host = other.hostname or ""
    if host == own.hostname or (is_loopback(own.hostname or "") and is_loopback(host)):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_global
    return not is_loopback(host)
