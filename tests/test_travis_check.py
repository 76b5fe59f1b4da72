"""`travis check` finds what would bite in a `.travis.yml`, at its line, and nothing else."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from meshwright.ci.travis.known_keys import Keys, providers, tables
from meshwright.ci.travis.review import review
from meshwright.cli import cli
from meshwright.rules import RULES
from settings import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.rules import Rule

SCHEMA = SHARED / "travis" / "travis-yml-schema.json"
REAL_FILES = SHARED / "travis" / "fixtures_yml"

EXPECTED = {
    # Two jobs hold skip_cleanup beside their deployment, where it does nothing; the releases take master for granted.
    "Kronos-Integration_kronos-interceptor.yml": ["MW850 warning 20", "MW858 warning 31"],
    "arlac77_scope-reporter.yml": ["MW850 warning 16", "MW858 warning 27"],
    # Staging is deployed from a branch called master, though no line says so.
    "alphagov_datagovuk_publish.yml": ["MW858 warning 34", "MW858 warning 38"],
    # A variable of the shell stands where Travis takes true or false, and is dropped.
    "apache_incubator-openwhisk-wskdeploy.yml": ["MW851 warning 86"],
    # A script called release runs in pull requests too, with the tokens of the environment handed to it.
    "bunqCommunity_bunqDesktop.yml": ["MW855 warning 38"],
    # A key of Pushover, for all to read.
    "hyperledger_composer.yml": ["MW856 error 44"],
    # A file is decrypted in every job, with a key that forks do not have.
    "konnectors_cozy-konnector-bouyguestelecom.yml": ["MW864 warning 34"],
    # Packages are published, or not; the build passes either way.
    "pyiron_pyiron.yml": ["MW860 warning 36", "MW860 warning 42"],
    # Called invalid by those who made them: no address, a plain token, an unknown version, an unknown key.
    "jobs_invalid_scenario.yml": ["MW851 error 4", "MW856 error 4", "MW851 error 6", "MW850 warning 8"],
    "root_invalid_scenario.yml": ["MW851 error 2", "MW856 error 2", "MW851 error 4", "MW850 warning 6"],
}
"""All findings in the files of real projects, but for information; those that are not named have none."""


def found(text: str) -> list[str]:
    """Code, severity and line of each finding, but for information."""
    judged = review(textwrap.dedent(text), ".travis.yml")
    return [f"{one.rule} {one.severity} {one.source.line}" for one in judged if one.source and one.severity != "info"]


def real_files() -> list[Any]:
    """Every real file by name, or one that skips."""
    names = sorted(path.name for path in REAL_FILES.glob("*.yml")) if REAL_FILES.is_dir() else []
    skip = pytest.mark.skip(reason="the real files are not on this machine")
    return [pytest.param(name, id=name) for name in names] or [pytest.param("", marks=skip)]


@pytest.mark.parametrize("name", real_files())
def test_real_files_have_these_findings_and_no_others(name: str) -> None:
    """Each of them can be defended; the reason stands beside it."""
    text = (REAL_FILES / name).read_text(encoding="utf-8")
    assert found(text) == EXPECTED.get(name, [])


@pytest.mark.parametrize(
    "text",
    [
        "cache: pip",
        "cache: [pip, yarn]",
        "cache: false",
        "cache: {directories: [a], pip: true}",
        "env: A=1 B=2",
        "env: [A=1, 'B=x=y']",
        "env: {A: 1, B: {secure: x}}",
        "env: {global: [A=1, {secure: x}], jobs: [B=1, B=2]}",
        'env: {matrix: [A="one two"]}',
        "language: [python]",
        "language: golang",
        "os: [linux, osx]",
        "arch: x64",
        "install: true",
        "script: skip",
        "script: [[a, b], c]",
        "python: 3.10",
        "sudo: required",
        "git: {depth: false}",
        "git: {clone: false}",
        "branches: main",
        "branch: main",
        "notifications: {emails: [a@b.example], webhook: 'https://a.example', irc: {channel: a}}",
        "branches: [main]",
        "matrix: {include: [{os: linux}], allowed_failures: [{os: linux}], fast_failure: true}",
        "jobs: [{script: a}]",
        "stages: test",
        "stages: [a, {name: b, if: branch = main}]\njobs: {include: [{stage: A}, {stage: b}]}",
        "notifications: false",
        "notifications: a@b.example",
        "notifications: {email: false, slack: {secure: x, on_success: change}, webhooks: 'https://a.example'}",
        "addons: {apt: [a, b], firefox: latest, snaps: [{name: a, classic: true}]}",
        "services: docker",
        "deploy: {provider: pages, github-token: $T, on: main}",
        "deploy: {provider: heroku, api_key: {main: {secure: x}}, app: {main: a}, on: [main, next]}",
        "deploy: {provider: script, script: ./x, on: {branch: main, python: '3.12', condition: '$A = b'}}",
        "_shared: &shared {script: a}\njobs: {include: [{<<: *shared, name: b}]}",
        "shared: &shared {script: a}\njobs: {include: [{<<: *shared, name: b}]}",
        "version: ~> 1.0\nimport: a/b:c.yml@v1",
        "if: false",
        "env: {POSTGRES_PASSWORD: postgres, TOKEN: $OTHER, API_KEY_FILE: /a/b, API_KEY: ''}",
        "after_success: bash <(curl -s https://codecov.example/bash)",
        "script: 'echo \"apply with meshwright apply\"'",
        "script: '[ \"$TRAVIS_PULL_REQUEST\" = false ] && docker push a'",
        "script: travis_wait 30 sleep 1200",
        "script: git fetch --unshallow && git describe",
        "vm: {size: large}\nkeys: [A]\nworkspaces: {create: {name: a, paths: b}}",
        "conditions: v0\nif: branch IS main",
    ],
)
def test_what_people_write_and_travis_takes_is_no_finding(text: str) -> None:
    """Shorthands, aliases, older spellings, values that only look like secrets or deployments."""
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("brnaches: main", ["MW850 error 1"]),
        ("oidc: {audience: a}", ["MW850 warning 1"]),
        ("jobs:\n  fast_finnish: true", ["MW850 error 2"]),
        ("jobs:\n  include:\n  - scirpt: a", ["MW850 error 3"]),
        (
            "deploy:\n  provider: script\n  scrpt: a\n  on:\n    brnch: main\n    branch: main",
            ["MW850 error 3", "MW850 error 5"],
        ),
        ("addons: {apt: {packges: a}}", ["MW850 error 1"]),
        ("notifications: {slack: {on_sucess: always}}", ["MW850 error 1"]),
        ("env:\n  gobal: [A=1]", ["MW851 error 2"]),
        ("language: pyton", ["MW851 error 1"]),
        ("cache: pipp", ["MW851 error 1"]),
        ("script:\n- echo a: b", ["MW851 error 2"]),
        ("deploy: {provider: scrpt}", ["MW851 error 1", "MW858 warning 1"]),
        ("deploy: {script: a, on: {branch: main}}", ["MW851 error 1"]),
        ("jobs: {}\nmatrix: {}", ["MW851 error 2"]),
        ("version: 1", ["MW851 error 1"]),
        ("a: 1\na: 2", ["MW850 warning 1", "MW010 error 2"]),
        ("- a", ["MW851 error 1"]),
        ("a: [", ["MW010 error 2"]),
        ("if: branch IS main", ["MW852 error 1"]),
        ("stages:\n- {name: test, if: $A = b}", ["MW852 error 2"]),
        ("notifications: {email: {if: branch IN main}}", ["MW852 error 1"]),
        ("if: type = push AND type = api", ["MW853 error 1"]),
        ("if: branche = main", ["MW853 error 1"]),
        ("if: branch != a OR branch != b", ["MW853 warning 1"]),
        ("if: type = pull_request\njobs: {include: [{script: a, if: tag IS present}]}", ["MW853 error 2"]),
        ("if: branch!=main", ["MW854 warning 1", "MW853 warning 1"]),
        ("if: env(TRAVIS_BRANCH) = main", ["MW854 warning 1"]),
        ("if: type IN (push, pull)", ["MW854 warning 1"]),
        ("script: meshwright apply", ["MW855 error 1"]),
        ("script: meshwright --environment staging apply --wait 9", ["MW855 error 1"]),
        ("if: branch = main\nscript: meshwright rollback --last-good", ["MW855 error 2"]),
        ("script: python -m meshwright.cli apply", ["MW855 error 1"]),
        ("script: kubectl apply -f a", ["MW855 warning 1"]),
        ("script: 'if [ $TRAVIS_BRANCH = main ]; then ./deploy.sh; fi'", ["MW855 warning 1"]),
        ("if: type != pull_request\nscript: meshwright apply", []),
        ("stages: [{name: go, if: type = push}]\njobs: {include: [{stage: go, script: meshwright apply}]}", []),
        ("env: [AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzAMPLEKEY]", ["MW856 error 1"]),
        ("env: {DB_PASSWORD: 'correct horse!'}", ["MW856 warning 1"]),
        ("env: {A: ghp_abcdefghijklmnopqrstuvwxyz0123456789}", ["MW856 error 1"]),
        ("script: curl -u a:glpat-abcdefghijklmnopqrst x", ["MW856 error 1"]),
        ("deploy: {provider: npm, api_key: abcdef0123, on: main}", ["MW856 error 1"]),
        ("notifications: {slack: 'acme:abcdefghij0123456789'}", ["MW856 error 1"]),
        ("env: A=one two", ["MW857 error 1"]),
        ("env: [A=x&y]", ["MW857 warning 1"]),
        ("deploy: {provider: script, script: ./x}", ["MW858 warning 1"]),
        ("if: type = pull_request\ndeploy: {provider: script, script: ./x, on: main}", ["MW859 error 2"]),
        ("if: branch = main\ndeploy: {provider: script, script: ./x, on: next}", ["MW859 error 2"]),
        ("branches: {only: [main]}\ndeploy: {provider: script, script: ./x, on: next}", ["MW859 error 2"]),
        ("deploy: {provider: script, script: ./x, on: main, allow_failure: true}", ["MW860 warning 1"]),
        (
            "if: type = push\njobs:\n  include: [{name: a, script: meshwright apply}]\n  allow_failures: [{name: a}]",
            ["MW860 error 4"],
        ),
        ("if: type = push\nafter_success: meshwright apply", ["MW861 error 2"]),
        ("if: type = push\nafter_success: docker push a", ["MW861 warning 2"]),
        ("script: sleep 10m", ["MW862 warning 1"]),
        ("script: meshwright --quiet wait 1 --timeout 900", ["MW862 warning 1"]),
        ("script: aws cloudformation wait stack-create-complete", ["MW862 warning 1"]),
        ("script: V=$(git describe --tags)", ["MW863 warning 1"]),
        ("git: {depth: 3}\nscript: git merge-base a b", ["MW863 warning 2"]),
        (
            "before_install: openssl aes-256-cbc -K $encrypted_1_key -iv $encrypted_1_iv -in a -out b -d",
            ["MW864 warning 1"],
        ),
        (
            "stages: [test, relese]\njobs: {include: [{script: a}, {stage: release}]}",
            ["MW866 warning 1", "MW866 warning 2"],
        ),
        ("filter_secrets: false", ["MW867 error 1"]),
    ],
)
def test_what_would_bite_is_found(text: str, findings: list[str]) -> None:
    """At its line, and with no other finding beside it."""
    assert sorted(found(text)) == sorted(findings)


def samples(rule: Rule) -> Iterator[str]:
    """The example of a rule's page, and what to use instead, each as a whole file."""
    for block in re.findall(r"```yaml\n(.*?)```", rule.page, flags=re.DOTALL):
        yield f"jobs:\n  include:\n{textwrap.indent(block, '  ')}" if block.startswith("- ") else block


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.code.startswith(("MW85", "MW86"))], ids=str)
def test_the_example_of_each_page_has_the_fault_and_what_is_to_be_used_has_none(rule: Rule) -> None:
    """The pages keep what they say."""
    bad, good = samples(rule)
    assert rule.code in {one.rule for one in review(bad, "f")}
    assert rule.code not in {one.rule for one in review(good, "f")}


def test_no_message_repeats_a_secret() -> None:
    """Neither in the summary nor in what to do."""
    secret = "c0rrect-h0rse-battery"
    text = f"env: {{API_TOKEN: {secret}}}\nvault: {{api_url: a, token: {secret}}}\n"
    text += f"deploy: {{provider: s3, secret_access_key: {secret}, on: main}}\n"
    told = review(text, "f")
    assert len([one for one in told if one.rule == "MW856"]) == 3
    assert not [one for one in told if secret in one.summary + one.detail]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=8)
        | st.sampled_from(["script", "main", "$X", "a: b"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["jobs", "include", "stages", "deploy", "on", "env", "if", "script", "secure", "name", "git"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_judged(value: Any) -> None:
    """Whatever stands where; JSON is YAML."""
    for one in review(json.dumps(value), "f"):
        assert one.summary
        assert one.source


def test_the_command_tells_file_line_and_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `validate` does, in all of its formats."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["travis", "check", *arguments], standalone_mode=False)

    Path(".travis.yml").write_text("language: shell\nscirpt: make\n", encoding="utf-8")
    text = run()
    assert text.return_value == 1
    assert ".travis.yml:2: error MW850" in text.output
    sarif = json.loads(run("--format", "sarif").output)
    assert sarif["runs"][0]["results"][0]["ruleId"] == "MW850"
    told = json.loads(run("--format", "json").output)
    assert told["diagnostics"][0]["source"] == {"file": ".travis.yml", "line": 2, "column": 1}
    Path(".travis.yml").write_text("language: shell\nscript: make\noidc: 1\n", encoding="utf-8")
    assert run().return_value == 0
    assert run("--fail-on", "warning").return_value == 1
    assert "other.yml cannot be read" in str(run("other.yml").exception)


def schema() -> dict[str, Any]:
    """Travis's own schema of the normalised form."""
    if not SCHEMA.is_file():
        pytest.skip("Travis's schema is not on this machine")
    loaded: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft4Validator.check_schema(loaded)
    return loaded


def members(whole: dict[str, Any], node: dict[str, Any], *, languages: bool = False) -> dict[str, set[str]]:
    """The keys of the mappings that a part of the schema takes, each with its aliases."""
    if "$ref" in node:
        _, _, kind, name = node["$ref"].split("/")
        if kind in {"support", "language"} and not languages:
            return {}
        return members(whole, whole["definitions"][kind][name], languages=languages)
    keys: dict[str, set[str]] = {}
    for name, inner in node.get("properties", {}).items():
        aliases = set(inner.get("aliases", ()))
        if "$ref" in inner and name not in {"deploy", "include"}:
            _, _, kind, target = inner["$ref"].split("/")
            meant = whole["definitions"][kind][target]
            aliases |= {alias for part in (meant, *meant.get("anyOf", ())) for alias in part.get("aliases", ())}
        keys[name] = aliases
    for part in (*node.get("anyOf", ()), *node.get("allOf", ())):
        for name, aliases in members(whole, part, languages=languages).items():
            keys[name] = keys.get(name, set()) | aliases
    return keys


OURS_ALONE = {"clone", "merge_mode", "channel"}
"""Keys that are documented, and that the schema lacks, or names beside the keys that they stand for."""


def agrees(keys: Keys, wanted: dict[str, set[str]]) -> None:
    """Whether a table has exactly these keys, by these names."""
    names = {name for first, aliases in wanted.items() for name in {first, *aliases}}
    assert names <= set(keys.known) <= names | OURS_ALONE, keys.name
    for first, aliases in wanted.items():
        assert {keys.known[name].name for name in {first, *aliases}} <= {first, *aliases}, keys.name


def test_the_table_of_keys_agrees_with_the_schema() -> None:
    """Every way to deploy, every addon and notification, the file's top, jobs and their parts."""
    whole = schema()
    definitions, known = whole["definitions"], tables()
    assert {f"deploy:{name}" for name in providers()} <= set(known)
    assert set(providers()) == {
        name for name, one in definitions["deploy"].items() if "provider" in members(whole, one)
    } - {"providers"}
    for name in providers():
        agrees(known[f"deploy:{name}"], members(whole, definitions["deploy"][name]))
    agrees(known["on"], members(whole, definitions["deploy"]["conditions"], languages=True))
    agrees(known["edge"], members(whole, definitions["deploy"]["edge"]))
    for name in ("apt", "artifacts", "browserstack", "homebrew", "sauce_connect", "sonarcloud", "sbom"):
        agrees(known[name], members(whole, definitions["addon"][name]))
    for name in ("campfire", "flowdock", "hipchat", "irc", "pushover", "slack"):
        wanted = members(whole, definitions["notification"][name])
        agrees(known[name], {key: aliases for key, aliases in wanted.items() if key != "secure"})
    for name in ("email", "webhooks"):
        aliases = {alias for part in definitions["notification"][name]["anyOf"] for alias in part.get("aliases", ())}
        assert {known["notifications"].known[alias].name for alias in aliases} == {name}
    agrees(known["root"], members(whole, whole, languages=True))
    for name, ours in (("jobs_include", "job"), ("jobs_exclude", "some_jobs"), ("jobs_allow_failure", "tolerated")):
        agrees(known[ours], members(whole, definitions["type"][name], languages=True))
    for name in ("addons", "cache", "git", "vm", "vault", "workspaces", "stage", "import", "branches"):
        agrees(known[name], members(whole, definitions["type"][name]))


def test_the_choices_agree_with_the_schema() -> None:
    """Languages, systems, distributions, architectures, services."""
    types, root = schema()["definitions"]["type"], tables()["root"].known
    for key, name in (
        ("language", "language"),
        ("os", "os"),
        ("dist", "dist"),
        ("arch", "arch"),
        ("services", "service"),
    ):
        values = types[name].get("values", {})
        aliases = {alias for one in values.values() for alias in one.get("aliases", ())}
        assert set(root[key].choices) == set(types[name]["enum"]) | aliases
