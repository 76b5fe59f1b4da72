"""The condition keys that a policy may name: IAM's global ones, App Mesh's, and those of other services.

The one rule: a key that nothing can ever fill, being misspelt, is refused; a condition on it would hold always
or never. Names of keys know no case.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from __future__ import annotations

from meshwright.trust.policies.faults import near, quoted

TAGGED = ("aws:PrincipalTag", "aws:RequestTag", "aws:ResourceTag")
"""Keys that are followed by `/` and the key of a tag."""

_GLOBAL = (
    "AssumedRoot CalledVia CalledViaAWSMCP CalledViaFirst CalledViaLast ChatbotSourceArn CurrentTime "
    "Ec2InstanceSourcePrivateIPv4 Ec2InstanceSourceVpc EpochTime FederatedProvider IsMcpServiceAction "
    "MultiFactorAuthAge MultiFactorAuthPresent PrincipalAccount PrincipalArn PrincipalIsAWSService PrincipalOrgID "
    "PrincipalOrgPaths PrincipalServiceName PrincipalServiceNamesList PrincipalType referer RequestedRegion "
    "ResourceAccount ResourceOrgID ResourceOrgPaths SecureTransport SignInSessionArn SourceAccount SourceArn "
    "SourceIdentity SourceIp SourceOrgID SourceOrgPaths SourceOwner SourceVpc SourceVpcArn SourceVpce TagKeys "
    "TokenIssueTime UserAgent userid username ViaAWSMCPService ViaAWSService VpceAccount VpceOrgID VpceOrgPaths "
    "VpcSourceIp"
)
GLOBAL = frozenset(f"aws:{name}" for name in _GLOBAL.split())
"""IAM's global keys that stand alone; some of them are never filled here, as requests come through no VPC."""

_LOWER = frozenset(key.lower() for key in GLOBAL)
_LOWER_TAGGED = frozenset(key.lower() for key in TAGGED)
_OURS = frozenset({"appmesh", "meshwright"})


def fault_of(key: str, *, claims: bool = False) -> str:
    """Why `key` cannot be a condition key, "" when it can; with `claims`, names of claims are keys as well."""
    prefix, colon, name = key.partition(":")
    service = prefix.lower()
    if not key or any(char.isspace() or char in "{}" for char in prefix) or (colon and not name):
        return f"{quoted(key)} is no condition key; expected one such as 'aws:PrincipalTag/team'."
    if service == "aws":
        return _fault_of_global(key)
    if claims:
        return ""
    if not colon:
        meant = near(f"aws:{key}", [*GLOBAL, *TAGGED])
        return f"{quoted(key)} is no condition key: a service and a colon come first.{meant}"
    if service in _OURS:
        return (
            f"{quoted(key)} does not exist: {service} has no condition keys of its own. "
            "Tags are aws:ResourceTag/KEY, aws:RequestTag/KEY and aws:TagKeys."
        )
    return ""


def _fault_of_global(key: str) -> str:
    stem, slash, tag = key.partition("/")
    if stem.lower() in _LOWER_TAGGED:
        return "" if tag else f"{quoted(key)} lacks the tag's key; write {stem}/KEY."
    if key.lower() in _LOWER:
        return ""
    if slash:
        return f"{quoted(key)} does not exist.{near(stem, TAGGED)}"
    return f"{quoted(key)} does not exist.{near(key, [*GLOBAL, *TAGGED])}"
