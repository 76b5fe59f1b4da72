"""What a control plane is started with.

The one rule: settings that would offer other machines what nobody protects are refused, unless somebody insists.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from meshwright.api.limits import Limits
from meshwright.certificates import TlsFiles
from meshwright.ci.travis.access import Access
from meshwright.control import AWAY_SECONDS
from meshwright.listening import Address, refuse_exposure
from meshwright.telemetry.standard import Destination


class IssuerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs of Travis CI get identities of us."""

    url: str
    """The `iss` of their tokens: how this API is reached."""
    access: Access
    """Travis CI's API, with a token that may read the jobs and their logs."""
    repositories: tuple[str, ...]
    """Patterns such as `acme/*`; of others no job gets one."""
    restarted: bool = False
    """Whether a job that was started again gets one."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the control plane listens and keeps its data; port 0 takes one of the kernel's choice."""

    listen: Address = ("127.0.0.1", 9080)
    xds: Address = ("127.0.0.1", 18000)
    data_dir: Path
    database: Path | None = None
    """None for the file in the data directory."""
    account: str = "000000000000"
    region: str = "us-east-1"
    trust: Path | None = None
    """The trust file; None for nobody but the administrator."""
    environment: str | None = None
    """Which of its environments this is."""
    beyond_loopback: bool = False
    """Whether plain HTTP and unauthenticated xDS may be offered to other machines."""
    tls: TlsFiles | None = None
    """The API's certificate and key; None for plain HTTP."""
    xds_tls: TlsFiles | None = None
    """Those of xDS, with the authorities that issue client certificates where those count."""
    xds_mutual: Address | None = None
    """Where Envoys with client certificates connect; None for `xds` itself where there are authorities."""
    xds_sockets: tuple[tuple[str, Path], ...] = ()
    """Unix sockets, each for the node of one ARN or path."""
    xds_without_authentication: bool = False
    """Whether anybody may be any node's proxy."""
    checkpoints: Path | None = None
    """The file, or a folder for it, that checkpoints of the audit log are published to; None for nowhere."""
    otlp: Destination | None = None
    """Where OpenTelemetry is sent; None for nowhere."""
    cloudwatch: str | None = None
    """The namespace of AWS CloudWatch that metrics go to; None for none."""
    issuer: IssuerSettings | None = None
    """How jobs of Travis CI get identities; None for not at all."""
    limits: Limits = Limits()
    quotas: dict[str, int] = {}
    """What beats the trust file's quotas and App Mesh's documented ones, by the names of `operations.Quotas`."""
    report_seconds: float = 5.0
    """Between two reports of each proxy on its calls."""
    envoys_per_node: int = 50
    """How many Envoys of one virtual node or gateway may be connected."""
    away_seconds: float = AWAY_SECONDS
    """How long a release waits for a proxy that left without a farewell."""
    registration_grace: float = 30.0
    """Seconds for which the endpoint of a proxy that is away is kept."""
    cloud_map_interval: float | None = None
    """Seconds between two looks at a service of AWS Cloud Map; None to leave AWS alone."""


def refuse_exposed(settings: Settings) -> None:
    """Raise where an address is reachable from other machines without the protection that this needs.

    Raises:
        UsageError: it names the option and the remedy.
    """
    if settings.beyond_loopback:
        return
    refuse_exposure(
        "--listen",
        settings.listen,
        secure=settings.tls is not None,
        authenticated=True,
        remedy="--tls-certificate and --tls-key",
    )
    for option, address in (("--xds", settings.xds), ("--xds-mutual", settings.xds_mutual)):
        if address is not None:
            refuse_exposure(
                option,
                address,
                secure=settings.xds_tls is not None,
                authenticated=not settings.xds_without_authentication,
                remedy="--tls-certificate and --tls-key, or --xds-tls-certificate and --xds-tls-key",
            )
