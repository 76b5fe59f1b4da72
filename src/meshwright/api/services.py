"""What the HTTP API works with, handed in by `meshwright.server`; nothing here is a singleton.

The one rule: an endpoint reads `store.head()`, and changes the state through `writer` only.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import msgspec

from meshwright.api.attempts import Attempts
from meshwright.api.canary_courses import Canaries
from meshwright.api.drifting import Drifts
from meshwright.api.keeping import Keeping
from meshwright.api.limits import Limits
from meshwright.api.metrics import Metrics
from meshwright.discovery import Found
from meshwright.issuers import Issuers
from meshwright.model.identity import DEFAULT_ACCOUNT, DEFAULT_REGION, split_mesh
from meshwright.observe import Baselines, Traffic
from meshwright.operations import UNLIMITED, Stamp
from meshwright.trust.authorization import Authority
from meshwright.trust.settings import EMPTY
from meshwright.trust.settling import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshwright.api.own_issuer import OwnIssuer
    from meshwright.api.writing import Writer
    from meshwright.audit import SigningKey
    from meshwright.control import Control
    from meshwright.operations import Quotas, Sharing
    from meshwright.store.contract import Store
    from meshwright.telemetry.happening import Event
    from meshwright.trust.principals import Principal


def _nobody() -> Authority:
    return Authority(settle(EMPTY, None))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that endpoints need from the outside."""

    store: Store
    writer: Writer
    control: Control
    traffic: Traffic = dataclasses.field(default_factory=lambda: Traffic(0))
    """What proxies report of their calls."""
    baselines: Baselines = dataclasses.field(default_factory=Baselines)
    """What they had reported when releases had propagated."""
    told: Callable[[Event], None] = lambda _: None
    """Where events are left, for whoever follows them elsewhere; returns at once."""
    drifts: Drifts = dataclasses.field(default_factory=Drifts)
    """What was told of drift."""
    found: Found = dataclasses.field(default_factory=Found)
    """Endpoints from all sources."""
    now: Callable[[], int]
    """Milliseconds since the epoch, UTC."""
    signing_key: SigningKey
    """What checkpoints of the audit log are signed by."""
    noted: Attempts | None = None
    """Where attempts are written down that the streams of proxies add to as well; None for one of the API's own."""
    uid: Callable[[], str]
    """A new random UUID, for objects and for requests."""
    account: str = DEFAULT_ACCOUNT
    region: str = DEFAULT_REGION
    partition: str = "aws"
    quotas: Quotas | None = UNLIMITED
    """None for what the newest `trust.yaml` says, which is App Mesh's documented defaults where it is silent."""
    more_quotas: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """What beats them, by name."""
    metrics: Metrics = dataclasses.field(default_factory=Metrics)
    limits: Limits = dataclasses.field(default_factory=Limits)
    sharing: Callable[[], Sharing] = frozenset
    """Which meshes are shared with which accounts, as the newest `trust.yaml` says."""
    authority: Callable[[], Authority] = _nobody
    """What the newest `trust.yaml` allows; nobody but the administrator anything by default."""
    issuer: OwnIssuer | None = None
    """Our own, which vouches for jobs of Travis CI; None for none."""
    issuers: Issuers = dataclasses.field(default_factory=Issuers)
    """The keys of the OIDC issuers that it declares."""

    @functools.cached_property
    def evidence(self) -> Keeping:
        """What proxies make of releases."""
        return Keeping(self.store, self.control, self.metrics)

    @functools.cached_property
    def canaries(self) -> Canaries:
        """What is known of the canaries under way."""
        return Canaries(self.traffic)

    @functools.cached_property
    def attempts(self) -> Attempts:
        """What somebody tried and nothing came of, for the audit log."""
        return self.noted or Attempts(self.store, self.now, self.metrics)

    def user(self, name: str) -> Principal:
        """Who the user of an access key is; `key_id` is not filled in."""
        return self.authority().user(name)

    def most(self) -> Quotas:
        """The quotas that hold now."""
        found = self.quotas or self.authority().quotas
        return msgspec.structs.replace(found, **self.more_quotas) if self.more_quotas else found

    def resource(self, path: str) -> str:
        """The ARN of a mesh or a stack as our own endpoints know it, from `mesh/NAME…`; `*` stays so.

        Its account is the mesh's owner: `mesh/shop@444444444444` is one of that account.
        """
        if path == "*":
            return path
        mesh, slash, rest = path.removeprefix("mesh/").partition("/")
        name, owner = split_mesh(mesh)
        where = f"arn:{self.partition}:meshwright:{self.region}:{owner or self.account}"
        return f"{where}:mesh/{name}{slash}{rest}"

    def stamp(self, account: str = "") -> Stamp:
        """The time, a fresh id and who asks, for one operation; no `account` is the server's own."""
        return Stamp(
            at=self.now(),
            uid=self.uid(),
            account=account or self.account,
            home=self.account,
            shared=self.sharing(),
            region=self.region,
            partition=self.partition,
        )
