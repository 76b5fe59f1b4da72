"""`trust check`, `trust explain` and `trust aws` on the command line, and the findings of a review one by one."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from meshwright.cli import cli
from meshwright.errors import UsageError
from meshwright.store import sqlite
from meshwright.store.contract import AccessKey
from meshwright.store.keys import prepare_directory
from meshwright.trust.aws import template
from meshwright.trust.review import KnownKey, review
from meshwright.trust.settling import settle
from settings import ROOT
from trusting import trust

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = ROOT / "examples" / "trust" / "trust.yaml"
LINTER = ROOT / "benchmarks" / ".peers" / "cfn-lint" / "bin" / "cfn-lint"
GITHUB = "https://token.actions.githubusercontent.com"
HEAD = f"""
version: 1
environments: {{staging: {{account: "111111111111", mesh: s}}, production: {{mesh: p, protected: true}}}}
issuers: {{gh: {{url: "{GITHUB}", audiences: [m]}}}}
policies:
  own: {{Version: "2012-10-17", Statement: {{Effect: Allow, Action: "appmesh:*",
         Resource: "arn:aws:appmesh:*:*:mesh/${{environment.mesh}}/virtualNode/a-*"}}}}
"""
ROLE = 'stack: a, owns: ["virtualNode/a-*"], may_extend: [mesh], permissions: [own]'
SAFE = "{StringEquals: {repository: o/a, ref: refs/heads/main}}"


def run(*arguments: str) -> tuple[int, str]:
    """A command's exit code and output."""
    done = CliRunner().invoke(cli, ["trust", *arguments], obj={}, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return int(done.return_value), done.stdout


def codes(text: str, **options: Any) -> list[str]:
    """The findings as `CODE severity subject`."""
    return [f"{one.rule} {one.severity} {one.subject}" for one in review(trust(text), **options)]


def entry(conditions: str, environments: str = "[staging]") -> str:
    """A file with one role that tokens can take under these conditions."""
    assume = f"[{{issuer: gh, environments: {environments}, conditions: {conditions}}}]"
    return f"{HEAD}roles: {{r: {{{ROLE}, assume: {assume}}}}}"


def test_a_file_that_is_well_made_has_no_findings() -> None:
    """Own names, own conditions, another claim for the protected environment."""
    text = f"""{HEAD}
roles:
  r:
    stack: a
    owns: ["virtualNode/a-*"]
    may_extend: [mesh]
    permissions: [own]
    assume:
      - {{issuer: gh, environments: [staging], conditions: {SAFE}}}
      - issuer: gh
        environments: [production]
        conditions: {{StringEquals: {{repository: o/a, environment: prod}}}}
"""
    assert codes(text) == []


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("{}", "MW607 error role/r"),
        ("{StringEquals: {ref: refs/heads/main}}", "MW607 error role/r"),
        ('{StringLike: {repository: "*"}}', "MW607 error role/r"),
        ('{StringLike: {sub: "repo:*"}}', "MW607 error role/r"),
        ('{StringLike: {repository: "*/fork"}}', "MW607 error role/r"),
        ("{StringNotEquals: {repository: o/b}}", "MW607 error role/r"),
        ("{StringEqualsIfExists: {ref: main}}", "MW607 error role/r"),
        ("{StringEquals: {repository: o/a}}", "MW608 warning role/r"),
        ('{StringLike: {sub: "repo:o/a:*"}}', "MW608 warning role/r"),
        ('{StringLike: {repository: "o/*", ref: "refs/*"}}', "MW608 warning role/r"),
        ("{StringEquals: {repository: o/a, event_name: [push, pull_request]}}", "MW608 warning role/r"),
        ("{StringEquals: {project_path: o/a}}", "MW608 warning role/r"),
    ],
)
def test_who_gets_in_is_tried(conditions: str, expected: str) -> None:
    """Strangers and pull requests that the conditions let in."""
    assert codes(entry(conditions)) == [expected]


@pytest.mark.parametrize(
    "conditions",
    [
        SAFE,
        '{StringLike: {sub: "repo:o/a:ref:refs/heads/*"}}',
        "{StringEquals: {repository: o/a, event_name: push}}",
        "{StringEquals: {repository: o/a, environment: production}}",
        '{StringEquals: {project_path: o/a, ref_protected: "true"}}',
        "{StringEquals: {sub: job-7}}",
    ],
)
def test_conditions_that_keep_them_out_are_not_found(conditions: str) -> None:
    """Nothing is reported that was not shown."""
    assert codes(entry(conditions)) == []


def test_a_pull_request_in_a_protected_environment_is_an_error() -> None:
    """And a warning elsewhere."""
    assert codes(entry("{StringEquals: {repository: o/a}}", "[production]")) == ["MW608 error role/r"]


def test_a_job_that_gets_into_both_environments_is_an_error() -> None:
    """The same conditions, or fewer of them, in front of the protected environment."""
    assert codes(entry(SAFE, "[staging, production]")) == ["MW606 error role/r"]


def test_environments_that_are_one_are_an_error() -> None:
    """Same account, region and mesh."""
    text = "version: 1\nenvironments: {a: {mesh: m}, b: {mesh: m, protected: true}, c: {mesh: n}}"
    assert codes(text) == ["MW606 error environment/b"]


def test_a_role_that_reaches_into_another_environment_is_found() -> None:
    """By its names, or by its policies."""
    start = f"{HEAD}roles: {{r: {{environments: [staging], stack: a, "
    names = f"{start}owns: ['mesh/*/virtualNode/a-*'], permissions: [own]}}}}"
    assert "MW606 error role/r" in codes(names)
    wide = """{Version: "2012-10-17", Statement: {Effect: Allow, Action: "appmesh:*", Resource: "*"}}"""
    policies = f"{start}owns: ['virtualNode/*'], permissions: [{wide}]}}}}"
    assert "MW606 warning role/r" in codes(policies)


def test_everybody_unused_overlapping_and_powerless() -> None:
    """One finding each."""
    entry_ = f"assume: [{{issuer: gh, environments: [staging], conditions: {SAFE}}}]"
    found = codes(
        f"""{HEAD}
roles:
  open: {{{ROLE}, assume: [{{principals: ["*"]}}]}}
  unused: {{{ROLE}}}
  thief: {{stack: b, owns: ["virtualNode/*-x"], permissions: [], {entry_}}}
  weak: {{permissions: [own], {entry_}}}
"""
    )
    assert "MW612 error role/open" in found
    assert "MW609 warning role/unused" in found
    assert "MW610 error role/thief" in found
    assert found.count("MW611 warning role/thief") == 1
    assert "MW611 warning role/weak" in found


REVIEWS = """
version: 1
environments: {e: {mesh: m%s}}
policies:
  approving: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "meshwright:Approve*", Resource: "%s"}}
users: {ann: {stack: shop, owns: ["virtualNode/*"]}}
roles: {lead: {permissions: [approving], assume: [%s]}}
%s
"""
STACKS = "arn:aws:meshwright:*:*:mesh/m/stack/"
ANYWHERE, TAKEN = f"{STACKS}*", "{principals: [user/ann]}"
MINDS = "guardrails: {mind: {risks: [tls-*], severity: approve%s}}"


def of_guardrails(text: str) -> list[tuple[str, str, str]]:
    """Those of the findings that are about guardrails: rule, member of the file, and what is said."""
    return [(one.rule, one.path, one.summary) for one in review(trust(text)) if one.rule in {"MW613", "MW614"}]


@pytest.mark.parametrize(
    ("pack", "resource", "assume", "rest", "found"),
    [
        ("", ANYWHERE, TAKEN, MINDS % "", None),
        ("", ANYWHERE, TAKEN, MINDS.replace("approve", "deny") % "", None),
        (
            "",
            ANYWHERE,
            "",
            MINDS % "",
            ("guardrails.mind", "'mind' has wait of stack 'shop': nobody can take role/lead"),
        ),
        (
            "",
            f"{STACKS}cart",
            TAKEN,
            MINDS % "",
            ("guardrails.mind", "guardrail 'mind' has wait of stack"),
        ),
        (
            "",
            f"{STACKS}cart",
            TAKEN,
            MINDS % ", stacks: [sh*]",
            ("guardrails.mind", "wait of stack 'shop'"),
        ),
        (", pack: staging", ANYWHERE, TAKEN, "", None),
        (
            ", pack: staging",
            ANYWHERE,
            "",
            "",
            ("environments.e.pack", "guardrail 'protected', 'tls', 'egress', 'callers'"),
        ),
        ("", f"{STACKS}${{aws:PrincipalTag/team}}", TAKEN, MINDS % "", None),
    ],
)
def test_what_waits_for_nobody_is_found(
    pack: str, resource: str, assume: str, rest: str, found: tuple[str, str] | None
) -> None:
    """At the rule, or at the pack; a policy that a tag may open counts as one that does."""
    told = of_guardrails(REVIEWS % (pack, resource, assume, rest))
    if found is None:
        assert told == []
    else:
        ((rule, path, summary),) = told
        assert (rule, path) == ("MW613", found[0])
        assert found[1] in summary


@pytest.mark.parametrize(
    ("pack", "rule", "words"),
    [
        ("", "{severity: ignore}", "switches off what no pack has; packs have callers, egress"),
        ("", "{risks: [tls-*], severity: warn, environments: []}", "holds in no environment"),
        (
            "",
            "{risks: ['*'], severity: warn, stacks: [shpo]}",
            "is about 'shpo', the stack of no user and no role; did",
        ),
        ("", "{actions: [create, delete], fields: [spec*], severity: deny}", "and a create or a delete changes none"),
        (
            ", pack: production",
            "{risks: [tls-*], severity: warn}",
            "is never told: 'tls' minds the same, and is stricter",
        ),
        (
            ", pack: production",
            "{risks: [weight-moved], over: 60, severity: warn, kinds: [apply]}",
            "is never told: 'tr",
        ),
        (", pack: production", "{risks: [weight-moved], over: 40, severity: warn, kinds: [apply]}", ""),
        (", pack: production", "{risks: [weight-moved], over: 60, severity: warn}", ""),
        (", pack: production", "{risks: ['*'], severity: warn}", ""),
        (", pack: production", "{objects: ['virtualNode/x'], severity: warn}", ""),
        (", pack: staging", "{actions: [update, delete], fields: [spec*], severity: deny}", ""),
    ],
)
def test_a_guardrail_that_can_never_object_is_found(pack: str, rule: str, words: str) -> None:
    """With the reason, and what may have been meant; one that sometimes can is none."""
    told = of_guardrails(REVIEWS % (pack, ANYWHERE, TAKEN, f"guardrails: {{mind: {rule}}}"))
    if words:
        ((code, path, summary),) = told
        assert (code, path) == ("MW614", "guardrails.mind")
        assert words in summary
    else:
        assert told == []


def test_a_pack_that_is_not_known_is_refused_with_what_may_have_been_meant() -> None:
    """The environment would have no guardrail at all."""
    with pytest.raises(UsageError, match=r"environments\.e\.pack: 'prod' is not one of .* did you mean 'production'"):
        trust("version: 1\nenvironments: {e: {pack: prod}}")


def test_keys_are_judged_by_age_and_owner() -> None:
    """A declared user, an old key, and one of nobody."""
    day, now = 86_400_000, 200 * 86_400_000
    keys = [
        KnownKey(key_id="AKIAOLD", user="operator", created_at=now - 91 * day),
        KnownKey(key_id="AKIANEW", user="operator", created_at=now - 9 * day),
        KnownKey(key_id="AKIALOST", user="gone", created_at=now),
        KnownKey(key_id="AKIAADMIN", user="administrator", created_at=now - day),
    ]
    found = review(trust("version: 1\nusers: {operator: {}}"), keys=keys, now=now)
    said = " ".join(one.summary for one in found)
    assert "AKIAOLD of user 'operator' is 91 days old" in said
    assert "AKIALOST is of user 'gone', whom the trust file does not declare" in said
    assert "AKIANEW" not in said
    assert "AKIAADMIN" not in said


def test_check_prints_findings_and_ends_with_what_was_asked(tmp_path: Path) -> None:
    """Text, JSON and SARIF; `--fail-on` decides; a server's keys are looked at when it is named."""
    code, said = run("check", str(EXAMPLE))
    assert (code, said.splitlines()[-1]) == (0, "6 objects: no errors, 6 warnings, 1 remark.")
    assert run("check", str(EXAMPLE), "--fail-on", "warning")[0] == 1
    found = json.loads(run("check", str(EXAMPLE), "--format", "json")[1])["diagnostics"]
    assert {one["rule"] for one in found} == {"MW603", "MW604", "MW606", "MW608", "MW609"}
    assert all(one["source"]["file"] == str(EXAMPLE) and one["source"]["line"] > 1 for one in found)
    results = json.loads(run("check", str(EXAMPLE), "--format", "sarif")[1])["runs"][0]["results"]
    assert len(results) == len(found)
    database = prepare_directory(tmp_path / "data")
    store = sqlite.connect(database)
    store.add_key(AccessKey(id="AKIALOST", secret="s", principal="gone", created_at=1))
    store.close()
    assert "AKIALOST" in run("check", str(EXAMPLE), "--data-dir", str(tmp_path / "data"))[1]


def test_explain_names_the_statement_its_line_and_the_owner() -> None:
    """Allowed, denied by a statement, denied for want of one, denied by ownership alone."""
    start = ("explain", "--trust", str(EXAMPLE), "--environment", "production", "role/cart-deployer")
    code, said = run(*start, "appmesh:UpdateRoute", "mesh/shop/virtualRouter/cart/route/all")
    assert code == 0
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    where = next(number for number, line in enumerate(lines, 1) if "Sid: OwnObjects" in line)
    assert f"{EXAMPLE}:{where}: allow: statement 'OwnObjects' of policy 'deploy-own'" in said
    code, said = run(*start, "appmesh:deletevirtualnode", "mesh/shop/virtualNode/cart-v1")
    assert (code, said.splitlines()[0]) == (1, "Denied: a policy denies appmesh:DeleteVirtualNode in so many words.")
    code, said = run(*start, "appmesh:UpdateRoute", "mesh/shop/virtualRouter/payment/route/all")
    assert (code, said.splitlines()[0]) == (1, "Denied: no policy allows appmesh:UpdateRoute on this resource.")
    code, said = run(*start, "appmesh:CreateVirtualNode", "mesh/shop/virtualNode/cart-v9", "--format", "json")
    told = json.loads(said)
    assert (code, told["allowed"], told["environment"]) == (0, True, "production")
    assert run(*start, "meshwright:ApplyRelease", "mesh/shop/stack/cart")[0] == 0
    assert run(*start, "meshwright:ApplyRelease", "mesh/shop/stack/payment")[0] == 1
    code, said = run(*start[:-1], "arn:aws:iam::333333333333:role/platform", "appmesh:UpdateMesh", "mesh/shop",
                     "--stack", "other")  # fmt: skip
    assert (code, said.splitlines()[0]) == (
        1,
        "Denied: a policy allows appmesh:UpdateMesh, and ownership refuses it.",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("role/cart-deploier", "appmesh:DescribeMesh", "mesh/shop"), "Did you mean 'role/cart-deployer'?"),
        (("role/platform", "appmesh:DescribMesh", "mesh/shop"), "Did you mean 'appmesh:DescribeMesh'?"),
        (("role/platform", "appmesh:DescribeMesh", "mesh/shop/virtualNode/a"), "is about a mesh"),
        (("role/platform", "appmesh:DescribeMesh", "arn:aws:s3:::x"), "is not the ARN of an App Mesh resource"),
        (("arn:aws:iam::999999999999:role/platform", "appmesh:DescribeMesh", "mesh/shop"), "is of another account"),
    ],
)
def test_a_question_that_means_nothing_is_refused(arguments: tuple[str, ...], words: str) -> None:
    """With what was meant, most likely."""
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        run("explain", "--trust", str(EXAMPLE), "--environment", "production", *arguments)


def test_a_role_of_another_environment_is_told_as_one(tmp_path: Path) -> None:
    """It is declared, and not here: no guess at its own name."""
    file = tmp_path / "trust.yaml"
    file.write_text(
        "version: 1\nenvironments: {staging: {}, qa: {}, production: {}}\n"
        "roles: {x: {environments: [staging, qa]}, y: {environments: [qa]}}\n"
    )
    words = ("explain", "--trust", str(file), "--environment", "production")
    for role, where in (("x", "staging and qa"), ("y", "qa")):
        with pytest.raises(UsageError, match=f"^role/{role} is declared for {where}, not for production.$"):
            run(*words, f"role/{role}", "appmesh:DescribeMesh", "mesh/shop")


def test_the_template_lets_in_nobody_else_and_grants_little() -> None:
    """Conditions under the issuer's keys, the audience, the subject; parameters and metrics of one stack."""
    code, said = run("aws", "--trust", str(EXAMPLE), "--environment", "production")
    document = yaml.safe_load(said)
    assert code == 0
    resources = document["Resources"]
    assert set(resources) == {"IssuerGithub", "RoleCartDeployer", "RolePaymentDeployer"}
    role = resources["RoleCartDeployer"]["Properties"]
    host = "token.actions.githubusercontent.com"
    assert role["AssumeRolePolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Federated": {"Ref": "IssuerGithub"}},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {
                    f"{host}:aud": ["meshwright"],
                    f"{host}:repository": "acme/cart",
                    f"{host}:environment": "production",
                },
                "StringLike": {f"{host}:sub": "repo:acme/cart:*"},
            },
        }
    ]
    parameters, metrics = role["Policies"][0]["PolicyDocument"]["Statement"]
    assert parameters["Resource"]["Fn::Sub"].endswith(":parameter/meshwright/production/cart/*")
    assert metrics["Condition"] == {"StringEquals": {"cloudwatch:namespace": "Meshwright/cart"}}


def test_what_aws_cannot_check_is_left_out_and_told() -> None:
    """An entry that AWS could check in part would let in more."""
    rendered = template(
        settle(trust(entry("{StringEquals: {sub: x, pipeline: y}}")), "staging", account="111111111111", region="r")
    )
    assert rendered.document["Resources"].keys() == {"IssuerGh"}
    assert "no condition key for the claim 'pipeline'" in rendered.remarks[0]


def test_cfn_lint_takes_the_templates_without_findings(tmp_path: Path) -> None:
    """The example's, in each of its environments, as YAML and as JSON."""
    found = shutil.which("cfn-lint") or (str(LINTER) if LINTER.is_file() else None)
    if found is None:
        pytest.skip("cfn-lint is installed by `make bench`, in an environment of its own")
    paths = []
    for environment in ("staging", "qa", "production"):
        for form in ("yaml", "json"):
            said = run("aws", "--trust", str(EXAMPLE), "--environment", environment, "--format", form)[1]
            paths.append(tmp_path / f"{environment}.{form}")
            paths[-1].write_text(said, encoding="utf-8")
    done = subprocess.run([found, *map(str, paths)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_extensions_are_explained_reviewed_and_owned_like_other_objects(tmp_path: Path) -> None:
    """The action is ours, the ARN the mesh's; a name that nobody can have is refused when the file is read."""
    file = tmp_path / "trust.yaml"
    file.write_text(
        """
version: 1
environments: {production: {mesh: shop, account: "333333333333"}}
roles:
  chaos:
    stack: chaos
    owns: ["meshwright/fault/*"]
    permissions:
      - Version: "2012-10-17"
        Statement: {Effect: Allow, Action: "meshwright:PutExtension", Resource: "*"}
    assume: [{principals: ["user/administrator"]}]
"""
    )
    words = ("explain", "--trust", str(file), "--environment", "production", "role/chaos")
    mesh = ("--parent-stack", "chaos")
    code, said = run(*words, "meshwright:PutExtension", "mesh/shop/meshwright/fault/slow", *mesh)
    assert (code, said.splitlines()[0]) == (0, "Allowed: a policy allows meshwright:PutExtension, and it is owned.")
    assert "arn:aws:appmesh:us-east-1:333333333333:mesh/shop/meshwright/fault/slow" in said
    code, said = run(*words, "meshwright:PutExtension", "mesh/shop/meshwright/cors/any", *mesh)
    assert code == 1
    assert "nothing that role/chaos owns matches mesh/shop/meshwright/cors/any" in said
    assert run(*words, "meshwright:DeleteExtension", "mesh/shop/meshwright/fault/slow")[0] == 1
    with pytest.raises(UsageError, match="is about an extension"):
        run(*words, "meshwright:PutExtension", "arn:aws:appmesh:us-east-1:333333333333:mesh/shop/virtualNode/n")
    assert "meshwright:PutExtension on meshwright/mirror/nobody-owns-this-name" in run("check", str(file))[1]
    file.write_text("version: 1\nroles: {r: {stack: s, owns: [meshwright/falt/x]}}\n")
    with pytest.raises(UsageError, match="matches nothing that there can be"):
        run("check", str(file))
