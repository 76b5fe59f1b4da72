"""Somebody with the AWS SDK and a key: `python -m meshwright.lab.story.sdk MESH ROUTER ROUTE NODE=WEIGHT…`.

Stock boto3, told where to go and who it is by AWS's own environment variables and nothing else: this is how meshes
are changed behind a pipeline's back in real life.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


def need() -> None:
    """Return when boto3 is installed.

    Raises:
        UsageError: it is not.
    """
    if importlib.util.find_spec("boto3") is None:
        told = "The demo plays an intruder with the AWS SDK, and boto3 is not installed here."
        raise UsageError(f"{told} Run pip install 'meshwright[demo]'.")


def shift(mesh: str, router: str, route: str, weights: Mapping[str, int]) -> None:
    """Give the targets of an HTTP route other weights: describe it, change the spec, update it."""
    import boto3  # noqa: PLC0415 - slow to import, and an extra

    client: Any = boto3.client("appmesh")
    names = {"meshName": mesh, "virtualRouterName": router, "routeName": route}
    spec = client.describe_route(**names)["route"]["spec"]
    for target in spec["httpRoute"]["action"]["weightedTargets"]:
        target["weight"] = weights[target["virtualNode"]]
    client.update_route(**names, spec=spec)


if __name__ == "__main__":
    _mesh, _router, _route, *_pairs = sys.argv[1:]
    shift(_mesh, _router, _route, {node: int(weight) for node, _, weight in (pair.partition("=") for pair in _pairs)})
