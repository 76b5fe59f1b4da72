"""Our extensions of App Mesh, one kind an intent, apart from App Mesh's own kinds so that these stay portable.

The one rule: an extension points at App Mesh objects, never the other way; without it they are as App Mesh has them.
"""

from meshwright.model.extensions.headers import CorsSpec, HeaderEditSpec
from meshwright.model.extensions.proxies import EgressPolicySpec, RegistrationSpec, TelemetrySpec, ZonePolicySpec
from meshwright.model.extensions.traffic import FaultSpec, MirrorSpec, RateLimitSpec, RetryPolicySpec

__all__ = [
    "CorsSpec",
    "EgressPolicySpec",
    "FaultSpec",
    "HeaderEditSpec",
    "MirrorSpec",
    "RateLimitSpec",
    "RegistrationSpec",
    "RetryPolicySpec",
    "TelemetrySpec",
    "ZonePolicySpec",
]
