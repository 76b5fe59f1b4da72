"""Generated meshes of any size: services of four resources each (node, router, route, service)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

RESOURCES_A_SERVICE = 4


def cloudformation(services: range, calls: int = 3) -> dict[str, Any]:
    """A template with `services`, each calling the next `calls`."""
    resources: dict[str, Any] = {}
    for index in services:
        name = f"service{index}"
        backends = [
            {
                "VirtualService": {
                    "VirtualServiceName": f"service{services[(index - services.start + step) % len(services)]}.local"
                }
            }
            for step in range(1, calls + 1)
            if index + step < services.stop
        ]
        resources |= {
            f"Node{index}": _resource("VirtualNode", VirtualNodeName=name, Spec=_node(name, backends)),
            f"Router{index}": _resource(
                "VirtualRouter",
                VirtualRouterName=name,
                Spec={"Listeners": [{"PortMapping": {"Port": 8080, "Protocol": "http"}}]},
            ),
            f"Route{index}": _resource(
                "Route",
                RouteName="all",
                VirtualRouterName={"Fn::GetAtt": [f"Router{index}", "VirtualRouterName"]},
                Spec=_route(name),
            ),
            f"Service{index}": _resource(
                "VirtualService",
                VirtualServiceName=f"{name}.local",
                Spec={
                    "Provider": {
                        "VirtualRouter": {
                            "VirtualRouterName": {"Fn::GetAtt": [f"Router{index}", "VirtualRouterName"]}
                        }
                    }
                },
            ),
        }
    return {"Resources": resources}


def write_templates(folder: Path, resources: int, each: int = 400) -> list[Path]:
    """Templates of `each` resources that hold `resources` together; CloudFormation takes at most 500 a template."""
    step = each // RESOURCES_A_SERVICE
    paths = []
    for start in range(0, resources // RESOURCES_A_SERVICE, step):
        path = folder / f"mesh-{start}.template.json"
        path.write_text(json.dumps(cloudformation(range(start, start + step)), indent=1))
        paths.append(path)
    return paths


def _resource(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": f"AWS::AppMesh::{kind}", "Properties": {"MeshName": "bench", **properties}}


def _node(name: str, backends: list[dict[str, Any]]) -> dict[str, Any]:
    check = {
        "Protocol": "http",
        "Path": "/ping",
        "HealthyThreshold": 2,
        "UnhealthyThreshold": 2,
        "TimeoutMillis": 2000,
        "IntervalMillis": 5000,
    }
    return {
        "Listeners": [{"PortMapping": {"Port": 8080, "Protocol": "http"}, "HealthCheck": check}],
        "Backends": backends,
        "ServiceDiscovery": {"DNS": {"Hostname": f"{name}.bench.internal"}},
    }


def _route(name: str) -> dict[str, Any]:
    retry = {"MaxRetries": 2, "PerRetryTimeout": {"Unit": "s", "Value": 2}, "HttpRetryEvents": ["gateway-error"]}
    target = {"WeightedTargets": [{"VirtualNode": name, "Weight": 100}]}
    return {"HttpRoute": {"Match": {"Prefix": "/"}, "Action": target, "RetryPolicy": retry}}
