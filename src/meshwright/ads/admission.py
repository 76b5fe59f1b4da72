"""What the gate before xDS knows: keys and sessions of the store, and what policies say of whom they stand for.

The one rule: everything is asked anew each time, so that what was revoked or forbidden a moment ago lets nobody in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.ads.identities import ACTION, AUTHORITY, Identities, Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cryptography import x509

    from meshwright.model.identity import Key
    from meshwright.store.contract import Store
    from meshwright.trust.authorization import Authority
    from meshwright.trust.principals import Principal


def identities(
    store: Store,
    *,
    account: str,
    region: str,
    now: Callable[[], int],
    authority: Callable[[], Authority],
    hosts: Callable[[], Iterable[str]] = tuple,
    authorities: Callable[[], tuple[x509.Certificate, ...]] = tuple,
) -> Identities:
    """Who may connect over xDS to the server of `account` and `region`.

    `authority` is what the newest `trust.yaml` allows; `hosts` are the addresses that proxies may have signed for,
    besides the name of their xDS cluster; `authorities` issue client certificates.
    """

    def signer_of(key_id: str) -> Signer | None:
        key = store.key(key_id)
        if key is not None:
            principal = msgspec.structs.replace(authority().user(key.principal), key_id=key.id)
            return None if store.revoked(key) else Signer(secret=key.secret, principal=principal)
        session = store.session(key_id)
        if session is None or store.revoked(session):
            return None
        principal = msgspec.structs.replace(session.principal, key_id=key_id)
        return Signer(secret=session.secret, principal=principal, token=session.token, expires_at=session.expires_at)

    def permit(principal: Principal, node: Key, arn: str, source: str) -> None:
        found = store.head().state.get(node)
        context = {f"aws:ResourceTag/{tag.key}": tag.value for tag in found.tags} if found is not None else {}
        authority().permit_action(principal, ACTION, arn, context | {"aws:SourceIp": source}, at=now())

    def arn_of(node: Key) -> str:
        found = store.head().state.get(node)
        owner = found.metadata.resource_owner if found is not None and found.metadata is not None else account
        return node.arn(region=region, account=owner, home=account)

    return Identities(
        region=region,
        now=now,
        signer_of=signer_of,
        permit=permit,
        arn_of=arn_of,
        hosts=lambda: (AUTHORITY, *hosts()),
        authorities=authorities,
    )
