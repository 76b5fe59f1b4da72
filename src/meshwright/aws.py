"""Clients of AWS's own services, through boto3, which is imported when it is used.

The one rule: AWS is not shown the identity token by which a build proves itself to Meshwright, unless AWS is among
those whom the token itself names, or whoever runs this says what else Meshwright is to be asked with.
Source: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

AWS_TOKEN_FILE, OWN_TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE", "MESHWRIGHT_TOKEN_FILE"
OWN_PROFILE = "MESHWRIGHT_PROFILE"
"""With this or a token of its own, Meshwright leaves AWS's variables to AWS."""

_AUDIENCE = "sts.amazonaws.com"
"""Whom a token is for that AWS is to be shown, as IAM takes it unless a provider says otherwise."""
_WEB_IDENTITY = "assume-role-with-web-identity"
_CONNECT_SECONDS, _READ_SECONDS = 3, 10


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """As whom, and where, AWS is asked; whatever is not said is found as AWS's own tools find it."""

    region: str = ""
    """Beats that of AWS's own settings."""
    otherwise: str = ""
    """The region where neither says one."""
    profile: str = ""
    """A profile of AWS's configuration and credentials files, which beats AWS's variables."""
    withholds: bool = False
    """Whether the token in AWS's variables is Meshwright's, and STS there too."""

    @property
    def remedy(self) -> str:
        """What to do where AWS takes none of the credentials that were found, or there are none."""
        where = "Give valid AWS credentials to this job: AWS's variables, or a profile (aws: {profile: …} in"
        told = f"{where} meshwright.yaml)."
        if self.withholds:
            return (
                f"{told} The token in {AWS_TOKEN_FILE} is Meshwright's here and is not shown to AWS: name it with "
                f"{OWN_TOKEN_FILE} instead, and AWS's variables are AWS's alone."
            )
        return told


def access(
    environ: Mapping[str, str], *, profile: str = "", region: str = "", otherwise: str = "", apart: bool = False
) -> Access:
    """As whom AWS is asked by who has `environ`; `apart` tells that Meshwright is asked with something of its own."""
    ours = not (apart or environ.get(OWN_TOKEN_FILE) or environ.get(OWN_PROFILE))
    file = environ.get(AWS_TOKEN_FILE, "")
    withholds = ours and bool(file) and not _for_aws(Path(file).expanduser())
    # A profile that is named beats the token in variables, as it does where Meshwright's token is not among them.
    named = profile or (environ.get("AWS_PROFILE", "") if withholds else "")
    return Access(region=region, otherwise=otherwise, profile=named, withholds=withholds)


def client(service: str, asked: Access, *, attempts: int, **options: Any) -> tuple[Any, Any]:
    """A client of a service of AWS, and the module of the exceptions that it raises.

    `attempts` of each call are made, with growing pauses; `options` are botocore's.

    Raises:
        UsageError: boto3 is not here, or AWS's settings cannot be used.
    """
    try:
        import boto3  # noqa: PLC0415 - only who asks AWS needs it
        import botocore.exceptions  # noqa: PLC0415
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
    except ImportError:
        raise UsageError(f"AWS ({service}) is asked through boto3: run pip install 'meshwright[aws]'.") from None
    try:
        core = botocore.session.Session(profile=asked.profile or None)
        if asked.withholds:
            # What STS is set to is Meshwright's: a profile's role is taken at AWS.
            core.set_default_client_config(Config(ignore_configured_endpoint_urls=True))
            options["ignore_configured_endpoint_urls"] = False
            if not asked.profile:
                core.get_component("credential_provider").remove(_WEB_IDENTITY)
        session = boto3.session.Session(botocore_session=core)
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            **options,
        )
        where = asked.region or session.region_name or asked.otherwise
        return session.client(service, region_name=where, config=config), botocore.exceptions
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise UsageError(f"AWS's settings for {service} cannot be used: {error}") from None


def _for_aws(file: Path) -> bool:
    """Whether the token in `file` is for AWS by its own account of it, which is all that matters to who sends it."""
    try:
        part = file.read_text("ascii").split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        found = claims["aud"]
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return False
    return _AUDIENCE in (found if isinstance(found, list) else [found])
