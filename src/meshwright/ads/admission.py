"""What the gate before xDS knows: keys and sessions of the store, and what policies say of whom they stand for.

The one rule: everything is asked anew each time, so that what was revoked or forbidden a moment ago lets nobody in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.ads.identities import ACTION, AUTHORITY, Identities, Signer
from meshwright.errors import AccessDeniedError
from meshwright.store.keys import ADMINISTRATOR
from meshwright.trust.principals import Principal

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from meshwright.model.identity import Key
    from meshwright.store.contract import Store


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where this server stands."""

    account: str
    region: str
    hosts: tuple[str, ...] = ()
    """The addresses that proxies may have signed for, besides the name of their xDS cluster."""


def identities(
    store: Store,
    place: Place,
    now: Callable[[], int],
    authorities: Callable[[], tuple[x509.Certificate, ...]] = tuple,
) -> Identities:
    """Who may connect over xDS; `authorities` issue client certificates."""

    def signer_of(key_id: str) -> Signer | None:
        key = store.key(key_id)
        if key is None:
            return None
        principal = Principal(account=place.account, kind="user", name=key.principal, key_id=key.id)
        return Signer(secret=key.secret, principal=principal)

    def permit(principal: Principal, arn: str) -> None:
        if principal.kind != "user" or principal.name != ADMINISTRATOR:
            raise AccessDeniedError(
                f"User: {principal.arn} is not authorized to perform: {ACTION} on resource: {arn} because no "
                f"identity-based policy allows the {ACTION} action"
            )

    def arn_of(node: Key) -> str:
        found = store.head().state.get(node)
        owner = found.metadata.resource_owner if found is not None and found.metadata is not None else place.account
        return node.arn(region=place.region, account=owner, home=place.account)

    return Identities(
        region=place.region,
        now=now,
        signer_of=signer_of,
        permit=permit,
        arn_of=arn_of,
        hosts=lambda: (AUTHORITY, *place.hosts),
        authorities=authorities,
    )
