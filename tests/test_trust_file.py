"""`trust.yaml`: strict, every fault with its line, nothing that could be read in two ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshwright.documents.trust_file import load
from meshwright.errors import UnreadableError, UsageError
from meshwright.trust.settling import Settled, settle
from settings import ROOT
from trusting import trust

HEAD = "version: 1\nenvironments: {test: {mesh: shop}}\n"


def settled(text: str, environment: str | None = None, account: str = "000000000000") -> Settled:
    """One environment of a file."""
    return settle(trust(text), environment, account=account, region="us-east-1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "trust.yaml:1: a trust file is a mapping"),
        ("- 1", "a trust file is a mapping"),
        ("version: 2", "trust.yaml:1: version: "),
        ("roles: {}", "version: is required"),
        (HEAD + "rolls: {}", "trust.yaml:3: rolls: unknown field 'rolls'; did you mean 'roles'?"),
        (HEAD + "roles: {a: {ownz: []}}", "roles.a.ownz: unknown field 'ownz'; did you mean 'owns'?"),
        (HEAD + "roles: {a: {}, a: {}}", "trust.yaml:3"),
        (HEAD + "roles: {'a/b': {}}", "roles.a/b: 'a/b' does not match"),
        (HEAD + "roles: {'': {}}", "is shorter than 1"),
        (HEAD + "roles: {a: {stack: ''}}", "roles.a.stack: '' does not match"),
        (HEAD + "roles: {a: {stack: 'x/y'}}", "roles.a.stack: 'x/y' does not match"),
        (HEAD + "roles: {a: {owns: ['virtualNode/x']}}", "roles.a.owns: there is no stack"),
        (
            HEAD + "roles: {a: {stack: s, owns: ['virtualnode/x']}}",
            "roles.a.owns[0]: 'virtualnode/x' matches nothing",
        ),
        (HEAD + "roles: {a: {stack: s, owns: ['virtualRouter/r/routes/x']}}", "matches nothing that there can be"),
        (HEAD + "roles: {a: {stack: s, owns: ['virtualNode/']}}", "matches nothing that there can be"),
        (HEAD + "roles: {a: {permissions: [deply]}}\npolicies: {deploy: " + "%s}", "did you mean 'deploy'?"),
        (HEAD + "roles: {a: {permissions: [7]}}", "expected the name of a policy"),
        (HEAD + "roles: {a: {assume: [{}]}}", "an entry names an issuer or principals"),
        (HEAD + "roles: {a: {assume: [{issuer: gh}]}}", "nothing of the name 'gh' is declared"),
        (HEAD + "roles: {a: {assume: [{principals: [user/x]}]}}", "there is no user 'x'"),
        (HEAD + "roles: {a: {assume: [{principals: [x]}]}}", "'x' is no principal"),
        (HEAD + "roles: {a: {environments: [tset]}}", "did you mean 'test'?"),
        (HEAD + "roles: {a: {environments: []}}", "the list is empty"),
        (HEAD + "roles: {a: {session: {max: 2h}}}", "is not from 15m to 1h"),
        (HEAD + "roles: {a: {session: {max: 1m}}}", "is not from 15m to 1h"),
        (HEAD + "users: {administrator: {}}", "this user is built in"),
        (HEAD + "users: {a: {tags: {x: '${environment.nmae}'}}}", "did you mean 'name'?"),
        (HEAD + "users: {a: {account: 111111111111}}", "users.a.account: expected a string"),
        (HEAD + "users: {a: {account: '12'}}", "users.a.account: '12' does not match"),
        (HEAD + "quotas: {virtual_gatways: 5}", "did you mean 'virtual_gateways'?"),
        (HEAD + "quotas: {meshes: 0}", "write at least 1"),
        (HEAD + "issuers: {gh: {url: 'ftp://x', audiences: [a]}}", "issuers.gh.url: 'ftp://x' does not match"),
        (HEAD + "issuers: {gh: {url: 'https://x', audiences: []}}", "needs at least 1 item"),
        (HEAD + "issuers: {gh: {url: 'http://x', audiences: [a]}}", "issuers.gh.url: 'http://x' is not https://"),
        (
            HEAD + "issuers: {gh: {url: 'http://localhost.${environment.name}', audiences: [a]}}",
            "which only an address of this machine may do without",
        ),
        (HEAD + "issuers: {gh: {url: 'https://u@x', audiences: [a]}}", "issuers.gh.url: 'https://u@x' is not"),
        (
            HEAD + "issuers: {gh: {url: 'https://x', audiences: [a], jwks_url: 'http://10.0.0.1/keys'}}",
            "issuers.gh.jwks_url: 'http://10.0.0.1/keys' is not https://",
        ),
        (
            HEAD + "issuers: {a: {url: 'https://x', audiences: [a]}, b: {url: 'https://X/', audiences: [a]}}",
            "issuers.b.url: 'https://X/' and 'https://x' are two issuers whose claims",
        ),
        (
            HEAD + "issuers: {gh: {url: 'https://x', audiences: [a], algorithms: [none]}}",
            "'none' is not one of ES256",
        ),
        (HEAD + "policies: {p: {Statement: [{Effect: Alow, Action: 'appmesh:*', Resource: '*'}]}}", "write 'Allow'"),
        (HEAD + "shares: [{mesh: shop, with: []}]", "needs at least 1 item"),
        ("version: 1\nenvironments: {a: {mesh: 'sh*p'}}", "'sh*p' is no mesh's name"),
        ("version: 1\nroles: {a: {stack: s, owns: [mesh]}}", "'mesh' names no mesh"),
        ("version: 1\nenvironments: {a: {}}\nusers: {u: {tags: {x: '${environment.mesh}'}}}", "has no value"),
        ("version: 1\n---\nversion: 1\n", "found a second one"),
    ],
)
def test_a_fault_is_told_with_its_place_and_remedy(text: str, words: str) -> None:
    """One line a fault: file, line, member, what is wrong."""
    policy = "{Version: '2012-10-17', Statement: {Effect: Allow, Action: 'appmesh:*', Resource: '*'}}"
    with pytest.raises(UsageError) as caught:
        trust(text.replace("%s", policy))
    assert words in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    """In the order of their lines."""
    text = HEAD + "roles:\n  a: {environments: [x]}\n  b: {session: {max: 9h}}\nusers:\n  administrator: {}\n"
    with pytest.raises(UsageError) as caught:
        trust(text)
    assert [line.split(":")[1] for line in str(caught.value).split("\n")] == ["4", "5", "7"]


def test_names_and_policies_are_told_together_and_each_fault_once() -> None:
    """Nobody repairs a file in rounds; and what no environment can make of a wrong name is not told besides."""
    text = (
        HEAD
        + "roles:\n"
        + "  a: {environments: [tset]}\n"
        + "  b: {permissions: [nothing]}\n"
        + "  c: {tags: {x: '${environment.nmae}'}}\n"
        + "policies:\n"
        + "  p: {Version: '2012-10-17', Statement: [{Effect: Alow, Action: 'appmesh:*', Resource: '*'}]}\n"
    )
    with pytest.raises(UsageError) as caught:
        trust(text)
    assert [line.split(":")[1] for line in str(caught.value).split("\n")] == ["4", "5", "6", "8"]


@pytest.mark.parametrize("member", ["ownz: []", "environments: [tset]", "permissions: [deploi]"])
def test_a_question_ends_its_sentence(member: str) -> None:
    """No full stop after a question mark, whatever round finds the fault."""
    policy = "policies: {deploy: {Version: '2012-10-17', Statement: []}}\n"
    with pytest.raises(UsageError) as caught:
        trust(f"{HEAD}{policy}roles: {{a: {{{member}}}}}")
    assert any(line.endswith("'?") for line in str(caught.value).split("\n")), str(caught.value)
    assert "?." not in str(caught.value)


def test_a_policy_s_fault_points_into_the_file() -> None:
    """The statement's own line, in a policy that several roles share, once."""
    text = (
        HEAD
        + """
policies:
  p:
    Version: "2012-10-17"
    Statement:
      - Effect: Allow
        Action: appmesh:DescribeMesh
        Resource: "*"
      - Effect: Allow
        Action: appmesh:DescribMesh
        Resource: "*"
roles: {a: {permissions: [p]}, b: {permissions: [p]}}
"""
    )
    with pytest.raises(UsageError) as caught:
        trust(text)
    assert str(caught.value).startswith("trust.yaml:12: policies.p.Statement[1].Action: 'appmesh:DescribMesh'")
    assert str(caught.value).count("\n") == 0


def test_aliases_that_grow_are_refused() -> None:
    """A bomb of aliases ends in one message, and soon."""
    lines = ["version: 1", "policies:", "  a0: &a0 {x: [1,2,3,4,5,6,7,8,9]}"]
    lines += [f"  a{n}: &a{n} {{x: [{','.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)]
    with pytest.raises((UsageError, UnreadableError)):
        trust("\n".join(lines))


def test_nonsense_is_refused_and_not_fallen_over() -> None:
    """Broken YAML, a file that is huge, deep nests."""
    for text in ("{", "a: [", "\tx", "version: 1\npolicies: " + "[" * 200, "# " + "x" * 1_000_001):
        with pytest.raises((UsageError, UnreadableError)):
            trust(text)


def test_an_environment_is_chosen_or_there_is_only_one() -> None:
    """No server serves the sum of all environments."""
    text = "version: 1\nenvironments: {a: {mesh: x}, b: {mesh: y, account: '111111111111'}}\n"
    with pytest.raises(UsageError, match="choose with --environment one of: a, b"):
        settled(text)
    with pytest.raises(UsageError, match="no environment 'c'"):
        settled(text, "c")
    with pytest.raises(UsageError, match="is of account 111111111111; this server is of account 000000000000"):
        settled(text, "b")
    assert settled(text, "b", "111111111111").mesh == "y"
    assert settled(HEAD).environment == "test"


def test_what_is_meant_elsewhere_is_not_there() -> None:
    """Roles, entries and shares of other environments; variables are filled in with this one's values."""
    text = """
version: 1
environments: {a: {mesh: x}, b: {mesh: y}}
issuers: {gh: {url: "https://x.example", audiences: [m]}}
roles:
  both:
    stack: "s-${environment.name}"
    owns: ["mesh/${environment.mesh}/virtualNode/*"]
    assume:
      - {issuer: gh, environments: [a], conditions: {StringEquals: {env: a}}}
      - {issuer: gh, conditions: {StringEquals: {env: "${environment.name}"}}}
  only: {environments: [b], tags: {account: "${environment.account}"}}
shares: [{mesh: m, with: ["222222222222"], environments: [b]}]
"""
    first, second = settled(text, "a"), settled(text, "b")
    assert set(first.roles) == {"both"}
    assert set(second.roles) == {"both", "only"}
    assert (first.roles["both"].stack, second.roles["both"].owns) == ("s-a", ("mesh/y/virtualNode/*",))
    assert len(first.roles["both"].assume) == 2
    assert [one.conditions for one in second.roles["both"].assume] == [{"StringEquals": {"env": "b"}}]
    assert second.entry_places["both"] == ("roles.both.assume[1]",)
    assert (first.shares, len(second.shares)) == ((), 1)
    assert second.roles["only"].tags == {"account": "000000000000"}


def test_a_value_that_does_not_fit_is_a_fault_of_its_environment() -> None:
    """A variable is judged by what it becomes."""
    with pytest.raises(UsageError, match=r"trust.yaml:3: roles.a: with the values of this environment: .*stack"):
        trust("version: 1\nenvironments: {'a=b': {mesh: x}}\nroles: {a: {stack: '${environment.name}'}}")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://[::1]/x", "http://localhost", "http://ci.localhost:1"]
)
def test_an_issuer_of_this_machine_may_do_without_tls(url: str) -> None:
    """And one issuer may be declared twice, for two audiences."""
    text = f"issuers: {{a: {{url: '{url}', audiences: [a]}}, b: {{url: '{url}', audiences: [b]}}}}"
    assert settled(HEAD + text).issuers["a"].url == url


def test_an_issuer_s_certificates_lie_beside_the_file() -> None:
    """Wherever the server was started; an absolute path stays."""
    text = HEAD + "issuers: {a: {url: 'https://x', audiences: [a], ca_file: CA}}"
    for written, found in (("ca.pem", "folder/ca.pem"), ("../ca.pem", "folder/../ca.pem"), ("/etc/ca", "/etc/ca")):
        one = trust(text.replace("CA", written), "folder/trust.yaml").issuers["a"]
        assert Path(one.ca_file or "") == Path(found)
    assert trust(text.replace("ca_file: CA", "tags: {}"), "folder/trust.yaml").issuers["a"].ca_file is None


def test_a_role_and_a_user_of_one_name_are_two() -> None:
    """What the one has the other has not."""
    text = HEAD + "roles: {x: {stack: s, owns: [mesh]}}\nusers: {x: {}}\n"
    found = settled(text)
    assert (found.roles["x"].stack, found.users["x"].stack) == ("s", None)


def test_the_example_is_read_in_each_environment() -> None:
    """And every member knows its line."""
    path = ROOT / "examples" / "trust" / "trust.yaml"
    read = load(path)
    for name, one in read.environments.items():
        found = settle(read, name, account=one.account or "", region="us-east-1")
        assert ("search-deployer" in found.roles) is (name != "production")
        assert found.mesh == one.mesh
    lines = path.read_text(encoding="utf-8").splitlines()
    for where, place in read.places.items():
        last = where.rpartition(".")[2].partition("[")[0]
        assert last in lines[place.line - 1] or "[" in where, where


def test_a_file_that_is_not_there_is_said() -> None:
    """Not fallen over."""
    with pytest.raises(UnreadableError):
        load(Path("/nowhere/trust.yaml"))
