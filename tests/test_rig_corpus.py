"""Rigs run the real definitions of the corpus: every mesh, in every dialect, starts and answers what it declares.

A mesh here is a file, or a folder whose files belong together, in which somebody calls somebody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshwright.lab.rig import Rig
from rigging import declared
from settings import PROVE
from test_corpus_documents import completed

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.envoy

_V1BETA2 = "v1beta2/manifest.yaml.template"
MESHES = [
    "cfn/blogs/ecs-cross-account/account_frontend/appmesh_resources.yml",
    "cfn/examples/apps/colorapp/servicemesh/appmesh-colorapp.yaml",
    "cfn/walkthroughs/fargate/appmesh-colorapp.yaml",
    "cfn/walkthroughs/howto-alb/app.yaml",
    "cfn/walkthroughs/howto-ecs-basics/deploy/2-meshify.yaml",
    "cfn/walkthroughs/howto-ecs-basics/deploy/3-routing.yaml",
    "cfn/walkthroughs/howto-grpc/mesh.yaml",
    "cfn/walkthroughs/howto-http-headers/app.yaml",
    "cfn/walkthroughs/howto-http-retries/app.yaml",
    "cfn/walkthroughs/howto-http2/mesh.yaml",
    "cfn/walkthroughs/howto-servicediscovery-cloudmap/mesh.yaml",
    "cfn/walkthroughs/howto-timeout-policy/mesh/mesh.yaml",
    "cfn/walkthroughs/howto-tls-file-provided/mesh/mesh.yaml",
    "cli-json/blogs/ecs-service-connectivity/yelb/deployments/platformdeployment/AWS/ECS/mesh",
    "k8s/blogs/cert-manager-tls/yelb-base.yaml",
    "k8s/blogs/eks-appmesh-connectivity/deployments/yaml/mesh/appmesh",
    "k8s/examples/apps/djapp/2_meshed_application/meshed_app.yaml",
    f"k8s/walkthroughs/howto-k8s-cloudmap/{_V1BETA2}",
    f"k8s/walkthroughs/howto-k8s-egress/{_V1BETA2}",
    f"k8s/walkthroughs/howto-k8s-grpc/{_V1BETA2}",
    f"k8s/walkthroughs/howto-k8s-http-headers/{_V1BETA2}",
    f"k8s/walkthroughs/howto-k8s-mtls-file-based/{_V1BETA2}",
    "k8s/walkthroughs/howto-k8s-multiple-listeners/manifest.yaml",
    f"k8s/walkthroughs/howto-k8s-outlier-detection/{_V1BETA2}",
    f"k8s/walkthroughs/howto-k8s-timeout-policy/{_V1BETA2}",
]
SAMPLE = {MESHES[10], MESHES[13]}
"""Cloud Map; a gateway and every service of an application. What else there is, `make prove` runs."""
UNANSWERED = {
    "howto-timeout-policy/mesh": {"ColorTellerWhite"},
    "howto-k8s-mtls-file-based": {"red"},
}
"""Whom no call reaches: a certificate of AWS; a server without TLS, whose callers insist on it."""
SHADOWED = {"cfn/walkthroughs/howto-http-headers/app.yaml"}
"""Where calls are for one header and several routes take them: the first one does."""


@pytest.mark.parametrize("mesh", [one for one in MESHES if PROVE or one in SAMPLE])
async def test_every_declared_call_is_answered_by_whom_it_is_for(corpus: Path, mesh: str) -> None:
    """Over each backend of each node, and through each route of each gateway, started from the definitions alone."""
    lost = next((names for part, names in UNANSWERED.items() if part in mesh), set())
    async with Rig(completed(corpus / mesh).state) as rig:
        calls = declared(rig.graph)
        assert calls
        for asked in calls:
            reply = (await rig.send(asked.call, asked.at)).reply
            expected = {name for name in asked.nodes if not any(name.startswith(one) for one in lost)}
            told = (asked.at.name, asked.call, reply.status, reply.fault)
            if mesh in SHADOWED:
                assert reply.status == 200, told
            elif expected:
                assert reply.node in expected, told
            else:
                assert reply.status == 503, told
