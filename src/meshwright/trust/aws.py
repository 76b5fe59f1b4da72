"""`trust aws`: the AWS side of a trust file as a CloudFormation template; pure.

The one rule: a role in AWS never lets in more than the role here. An entry of `assume` that AWS could check in part
only is left out of the template, and that is told.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-idp_oidc.html and
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iam-role.html
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.trust.contexts import provider_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.trust.settings import Assume, Role
    from meshwright.trust.settling import Settled

_EVERYWHERE = frozenset({"sub", "aud", "amr", "oaud", "email"})
"""Claims that IAM has condition keys for, whatever the issuer."""
_GITHUB = "token.actions.githubusercontent.com"
_KNOWN: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        _GITHUB: frozenset(
            {"actor", "actor_id", "job_workflow_ref", "repository", "repository_id", "workflow", "ref", "environment"}
            | {"enterprise_id"}
        ),
    }
)
"""Claims of single issuers that IAM has condition keys for besides.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
"""
_LOGICAL = re.compile(r"[^A-Za-z0-9]+")


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A template, and what it does not say of the trust file."""

    document: dict[str, Any]
    remarks: tuple[str, ...]


def template(settled: Settled) -> Rendered:
    """The template for one environment."""
    rendering = _Rendering(settled)
    resources = {**rendering.providers(), **rendering.roles()}
    where = f" in {settled.environment}" if settled.environment else ""
    if not resources:
        rendering.remarks.append("No role here can be taken with an issuer's token; the template is empty.")
    document: dict[str, Any] = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Meshwright: identity providers and roles of trust.yaml{where}.",
        "Metadata": {"Meshwright": {"NotExpressed": rendering.remarks}},
        "Resources": resources,
        "Outputs": {f"{name}Arn": {"Value": {"Fn::GetAtt": [name, "Arn"]}} for name in resources},
    }
    if not rendering.remarks:
        del document["Metadata"]
    return Rendered(document=document, remarks=tuple(rendering.remarks))


class _Rendering:
    """Makes resources and collects what cannot be expressed."""

    def __init__(self, settled: Settled) -> None:
        self._settled = settled
        self._names: dict[str, str] = {}
        self._taken: dict[str, tuple[str, str]] = {}
        self.remarks: list[str] = []
        self._used = {entry.issuer for role in settled.roles.values() for entry in role.assume if entry.issuer}

    def providers(self) -> dict[str, Any]:
        """An OIDC provider for each issuer that a role is taken with."""
        found: dict[str, Any] = {}
        urls: dict[str, str] = {}
        for name, issuer in self._settled.issuers.items():
            if name not in self._used:
                continue
            if not issuer.url.startswith("https://"):
                self._remark(f"issuers.{name}", f"AWS takes issuers over https only, and this one is {issuer.url}")
                continue
            logical = urls.setdefault(issuer.url, f"{self._logical('Issuer', name)}")
            known = found.setdefault(
                logical,
                {"Type": "AWS::IAM::OIDCProvider", "Properties": {"Url": issuer.url, "ClientIdList": []}},
            )
            clients = known["Properties"]["ClientIdList"]
            clients += [one for one in issuer.audiences if one not in clients]
            self._names[name] = logical
        return found

    def roles(self) -> dict[str, Any]:
        """A role for each that an issuer's token can take."""
        found: dict[str, Any] = {}
        for name, role in self._settled.roles.items():
            statements = self._trusted(name, role)
            if not statements:
                continue
            found[self._logical("Role", name)] = {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": name,
                    "Description": f"Meshwright: role {name}{self._where(' of ')}.",
                    "MaxSessionDuration": 3600,
                    "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": statements},
                    **self._permissions(name, role),
                    **self._tags(role),
                },
            }
        return found

    def _trusted(self, name: str, role: Role) -> list[dict[str, Any]]:
        statements = []
        for entry, path in zip(role.assume, self._settled.entry_places[name], strict=True):
            if entry.principals:
                self._remark(path, "its principals are users and roles of Meshwright, which AWS does not know")
                continue
            logical = self._names.get(entry.issuer or "")
            conditions = self._conditions(entry, path)
            if logical is None or conditions is None:
                continue
            statements.append(
                {
                    "Effect": "Allow",
                    "Principal": {"Federated": {"Ref": logical}},
                    "Action": "sts:AssumeRoleWithWebIdentity",
                    "Condition": conditions,
                }
            )
        return statements

    def _conditions(self, entry: Assume, path: str) -> dict[str, Any] | None:
        """The entry's conditions with IAM's keys; None where AWS could not check one of them."""
        issuer = self._settled.issuers[entry.issuer or ""]
        host = provider_of(issuer.url)
        known = _EVERYWHERE | _KNOWN.get(host, frozenset())
        found: dict[str, dict[str, Any]] = {"StringEquals": {f"{host}:aud": list(issuer.audiences)}}
        for operator, keys in entry.conditions.items():
            for key, values in keys.items():
                if key.lower().startswith(("aws:", "sts:")):
                    found.setdefault(operator, {})[key] = values
                elif key in known:
                    found.setdefault(operator, {})[f"{host}:{key}"] = values
                else:
                    self._remark(
                        path,
                        f"AWS has no condition key for the claim {key!r} of {host}, and without it the role would "
                        "let in more than here; the entry is left out. Ask for sub instead",
                    )
                    return None
        repository = entry.conditions.get("StringEquals", {}).get("repository")
        if host == _GITHUB and isinstance(repository, str) and not _asks(found, f"{host}:sub"):
            # It asks for nothing more, and AWS wants the subject named wherever GitHub is trusted.
            found.setdefault("StringLike", {})[f"{host}:sub"] = f"repo:{repository}:*"
        if not _asks(found, f"{host}:sub") and not _asks(found, f"{host}:email"):
            self._remark(path, f"no condition is on sub, which AWS wants for {host}; the entry is left out")
            return None
        return found

    def _permissions(self, name: str, role: Role) -> dict[str, Any]:
        """Leave to read the stack's parameters and to put its metrics."""
        if role.stack is None or role.stack == "*":
            self._remark(f"roles.{name}", "it has no stack of its own, and so neither parameters nor metrics in AWS")
            return {}
        settled = self._settled
        path = "/".join(filter(None, ("meshwright", settled.environment, role.stack)))
        parameters = {
            "Fn::Sub": f"arn:${{AWS::Partition}}:ssm:${{AWS::Region}}:${{AWS::AccountId}}:parameter/{path}/*"
        }
        statements = [
            {
                "Sid": "ReadParameters",
                "Effect": "Allow",
                "Action": ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"],
                "Resource": parameters,
            },
            {
                "Sid": "PutMetrics",
                "Effect": "Allow",
                "Action": "cloudwatch:PutMetricData",
                "Resource": "*",
                "Condition": {"StringEquals": {"cloudwatch:namespace": f"Meshwright/{role.stack}"}},
            },
        ]
        document = {"Version": "2012-10-17", "Statement": statements}
        return {"Policies": [{"PolicyName": "meshwright", "PolicyDocument": document}]}

    def _tags(self, role: Role) -> dict[str, Any]:
        if not role.tags:
            return {}
        return {"Tags": [{"Key": key, "Value": value} for key, value in role.tags.items()]}

    def _where(self, before: str) -> str:
        return f"{before}{self._settled.environment}" if self._settled.environment else ""

    def _logical(self, kind: str, name: str) -> str:
        """A logical id: letters and digits, and a number where two names would have the same."""
        base = kind + "".join(part[:1].upper() + part[1:] for part in _LOGICAL.split(name))
        number, found = 1, base
        while self._taken.setdefault(found, (kind, name)) != (kind, name):
            number += 1
            found = f"{base}{number}"
        return found

    def _remark(self, path: str, told: str) -> None:
        self.remarks.append(f"{path}: {told}.")


def _asks(conditions: dict[str, dict[str, Any]], key: str) -> bool:
    return any(key in keys for keys in conditions.values())
