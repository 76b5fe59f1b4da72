"""Somebody with the AWS SDK and a key: boto3 as it comes, pointed at the control plane.

It is what the story's intruder uses, because it is what changes meshes behind a pipeline's back in real life.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.remote import Credentials


def need() -> None:
    """Return when boto3 is installed.

    Raises:
        UsageError: it is not.
    """
    if importlib.util.find_spec("boto3") is None:
        raise UsageError("The demo plays an intruder with the AWS SDK, and boto3 is not installed. "
                         "Run pip install 'meshwright[demo]'.")  # fmt: skip


def shift(
    endpoint: str, region: str, key: Credentials, where: tuple[str, str, str], weights: Mapping[str, int]
) -> None:
    """Give an HTTP route's targets other weights: describe it, change the spec, update it.

    `where` is the mesh, the router and the route; blocks until it is done.
    """
    import boto3  # noqa: PLC0415 - slow to import, and an extra

    client: Any = boto3.session.Session(
        aws_access_key_id=key.key_id, aws_secret_access_key=key.secret, region_name=region
    ).client("appmesh", endpoint_url=endpoint)
    try:
        names = dict(zip(("meshName", "virtualRouterName", "routeName"), where, strict=True))
        spec = client.describe_route(**names)["route"]["spec"]
        for target in spec["httpRoute"]["action"]["weightedTargets"]:
            target["weight"] = weights[target["virtualNode"]]
        client.update_route(**names, spec=spec)
    finally:
        client.close()
