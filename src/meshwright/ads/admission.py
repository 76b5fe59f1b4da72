"""What the gate before xDS knows: keys and sessions of the store, and what policies say of whom they stand for.

The one rule: whatever was revoked or forbidden a moment ago lets nobody in. What is remembered is held against the
very trust file and object that it was made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from meshwright.ads.identities import ACTION, AUTHORITY, Identities, Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cryptography import x509

    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from meshwright.store.contract import Store
    from meshwright.trust.authorization import Authority
    from meshwright.trust.principals import Principal


OVERVIEW = "meshwright:GetStatus"
"""What a policy must allow for seeing the state of every proxy, over the API and over xDS."""
_REMEMBERED = 20_000
_VALID = 30_000
"""Milliseconds for which a permission is not asked for again while nothing that it was made from changes."""


class _Permitted(NamedTuple):
    """A permission, and what it was made from; thousands of streams are looked at every few seconds."""

    authority: Authority
    node: Resource | None
    principal: Principal
    at: int

    def holds(self, authority: Authority, node: Resource | None, principal: Principal, at: int) -> bool:
        same = self.authority is authority and self.node is node and self.principal == principal
        return same and 0 <= at - self.at < _VALID  # the time itself may be a condition


class _Known:
    """The answers of one store and one trust file, with the permissions that were given just now."""

    def __init__(
        self, store: Store, *, account: str, region: str, now: Callable[[], int], authority: Callable[[], Authority]
    ) -> None:
        self._store = store
        self._account = account
        self._region = region
        self._now = now
        self._authority = authority
        self._permitted: dict[tuple[str, str, str], _Permitted] = {}

    def signer_of(self, key_id: str) -> Signer | None:
        """Whose key or session this is; None for one that is unknown or revoked."""
        store = self._store
        key = store.key(key_id)
        if key is not None:
            principal = msgspec.structs.replace(self._authority().user(key.principal), key_id=key.id)
            return None if store.revoked(key) else Signer(secret=key.secret, principal=principal)
        session = store.session(key_id)
        if session is None or store.revoked(session):
            return None
        principal = msgspec.structs.replace(session.principal, key_id=key_id)
        return Signer(secret=session.secret, principal=principal, token=session.token, expires_at=session.expires_at)

    def permit(self, principal: Principal, node: Key | None, arn: str, source: str) -> None:
        """Raise where `principal` may not be `node`, whose ARN is `arn`, from the address `source`.

        None and `*` are about seeing how every proxy stands.
        """
        if node is None:
            self._authority().permit_action(principal, OVERVIEW, arn, {"aws:SourceIp": source}, at=self._now())
            return
        found, decides, at = self._store.head().state.get(node), self._authority(), self._now()
        asked = (principal.key_id, arn, source)
        known = self._permitted.get(asked)
        if known is not None and known.holds(decides, found, principal, at):
            return
        self._permitted.pop(asked, None)
        context = {f"aws:ResourceTag/{tag.key}": tag.value for tag in found.tags} if found is not None else {}
        decides.permit_action(principal, ACTION, arn, context | {"aws:SourceIp": source}, at=at)
        if len(self._permitted) >= _REMEMBERED:
            self._permitted.clear()
        self._permitted[asked] = _Permitted(decides, found, principal, at)

    def arn_of(self, node: Key) -> str:
        """The node's ARN, which names the account that owns it."""
        found = self._store.head().state.get(node)
        owner = found.metadata.resource_owner if found is not None and found.metadata is not None else self._account
        return node.arn(region=self._region, account=owner, home=self._account)


def identities(
    store: Store,
    *,
    account: str,
    region: str,
    now: Callable[[], int],
    authority: Callable[[], Authority],
    hosts: Callable[[], Iterable[str]] = tuple,
    authorities: Callable[[], tuple[x509.Certificate, ...]] = tuple,
    anonymous: bool = False,
) -> Identities:
    """Who may connect over xDS to the server of `account` and `region`.

    `authority` is what the newest `trust.yaml` allows; `hosts` are the addresses that proxies may have signed for,
    besides the name of their xDS cluster; `authorities` issue client certificates. With `anonymous`, who comes with
    neither certificate nor a socket of a node's own is anybody.
    """
    known = _Known(store, account=account, region=region, now=now, authority=authority)
    return Identities(
        region=region,
        now=now,
        signer_of=known.signer_of,
        permit=known.permit,
        arn_of=known.arn_of,
        hosts=lambda: (AUTHORITY, *hosts()),
        authorities=authorities,
        anonymous=anonymous,
    )
