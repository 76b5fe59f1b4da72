"""What `${…}` stands for: the build's environment, files of the repository, defaults, and never a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.ci.pull_request import pull_request
from meshwright.documents.expressions import pieces
from meshwright.documents.secrecy import named_secret, secret_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NODE = """\
meshName: shop
virtualNodeName: {name}
spec:
  listeners: [{{portMapping: {{port: {port}, protocol: http}}}}]
  serviceDiscovery: {{dns: {{hostname: "{host}"}}}}
"""


def node(name: str = "cart", *, host: str = "cart.local", port: str = "8080") -> str:
    """A virtual node."""
    return NODE.format(name=name, host=host, port=port)


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`meshwright` in `folder`, in an environment that has `environ` and of ours only what is no build's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [sys.executable, "-m", "meshwright.cli", *arguments]
    return subprocess.run(command, cwd=folder, env={**kept, **environ}, capture_output=True, text=True, check=False)


def validated(folder: Path, files: Mapping[str, str], *arguments: str, **environ: str) -> dict[str, Any]:
    """The report of `validate` on `files`; `meshwright.yaml` lists the others where it says nothing else."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    done = run(folder, "validate", "--part", "--format", "json", *arguments, **environ)
    assert done.returncode in {0, 1}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(report: dict[str, Any]) -> list[str]:
    """Summaries and details."""
    return [f"{one['summary']} | {one['detail']}" for one in report["diagnostics"]]


def hosts(folder: Path, files: Mapping[str, str], *arguments: str, **environ: str) -> str:
    """The host name that the node has in the end, asked of a program that shows it."""
    validated(folder, files, *arguments, **environ)
    code = (
        "import sys; from pathlib import Path; from meshwright.cli.definitions import loaded, project, sound;"
        "o = {'environment': sys.argv[1] or None}; read = sound(loaded(project(o), ()));"
        "print(*(one.spec.service_discovery.dns.hostname for one in read.state if one.key.name == 'cart'))"
    )
    kept = {"PATH": os.environ["PATH"], **environ}
    chosen = arguments[1] if arguments else ""
    done = subprocess.run(
        [sys.executable, "-c", code, chosen], cwd=folder, env=kept, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


PROJECT = "stack: cart\ndefinitions: [defs.yaml]\n"


@pytest.mark.parametrize(
    ("written", "project", "environ", "wanted"),
    [
        ("${HOST}", "", {"HOST": "from-build"}, "from-build"),
        ("${HOST}", "parameters: {HOST: from-file}\n", {"HOST": "from-build"}, "from-file"),
        ("${env:HOST}", "parameters: {HOST: from-file}\n", {"HOST": "from-build"}, "from-build"),
        ("a.${HOST}.b", "parameters: {HOST: '${env:ZONE}-x'}\n", {"ZONE": "eu"}, "a.eu-x.b"),
        ("${HOST}", "parameters: {HOST: '${HOST:-own}'}\n", {"HOST": "from-build"}, "from-build"),
        ("${HOST}", "parameters:\n  HOST: ${HOST:-own}\n", {}, "own"),
        ("${HOST}", "parameters: {HOST: '${A}${A}', A: '${env:Z:-z}'}\n", {}, "zz"),
        ("${HOST:-spare}", "", {}, "spare"),
        ("${HOST:-spare}", "", {"HOST": ""}, "spare"),
        ("${HOST:-}x", "", {}, "x"),
        ("${HOST:-spare:8080/a}", "", {}, "spare:8080/a"),
        ("${HOST:?name it}", "", {"HOST": "h"}, "h"),
        ("${file:host.txt}", "", {}, "from-a-file"),
        ("${file:none.txt:-spare}", "", {}, "spare"),
        ("$${HOST}${HOST}", "", {"HOST": "h"}, "${HOST}h"),
        ("$${env:HOST}", "", {"HOST": "h"}, "${env:HOST}"),
        ("{{HOST}}", "", {"HOST": "h"}, "h"),
        ("%REQ(:path)% ${1} $1", "", {}, "%REQ(:path)% ${1} $1"),
        ("${HOST}", "", {"HOST": "${HOME}"}, "${HOME}"),
    ],
)
def test_an_expression_stands_for_its_value(
    tmp_path: Path, written: str, project: str, environ: dict[str, str], wanted: str
) -> None:
    """Parameters before the build's environment before defaults; what is given is not looked into again."""
    files = {
        "meshwright.yaml": PROJECT + project,
        "defs.yaml": node(host=written),
        "host.txt": "from-a-file\n",
    }
    assert hosts(tmp_path, files, **environ) == wanted


def test_values_of_the_command_line_are_taken_as_they_are(tmp_path: Path) -> None:
    """A shell has been through them."""
    files = {"meshwright.yaml": PROJECT, "defs.yaml": node(port='"${PORT}"')}
    report = validated(tmp_path, files, "--parameter", "PORT=${env:P}", P="80")
    assert "found a string '${env:P}'" in told(report)[0]


def test_the_fields_of_the_project_take_values(tmp_path: Path) -> None:
    """Also such as are computed from parameters of the environment that was chosen, or of the command line."""
    project = (
        PROJECT + "parameters: {STAGE: test}\nmesh: shop-${STAGE}\n"
        "environments: {live: {parameters: {STAGE: live}, account: '${env:ACCOUNT}'}}\n"
    )
    files = {"meshwright.yaml": project, "defs.yaml": node().replace("meshName: shop\n", "")}
    assert validated(tmp_path, files)["objects"] == ["mesh/shop-test/virtualNode/cart"]
    assert validated(tmp_path, files, "--parameter", "STAGE=x")["objects"] == ["mesh/shop-x/virtualNode/cart"]
    done = run(tmp_path, "--environment", "live", "validate", "--format", "json", ACCOUNT="123456789012")
    assert json.loads(done.stdout)["objects"] == ["mesh/shop-live/virtualNode/cart"]
    done = run(tmp_path, "--environment", "live", "validate", ACCOUNT="12")
    assert (done.returncode, done.stdout) == (2, "")
    assert "meshwright.yaml:5:" in done.stderr.replace("meshwright.yaml:5 ", "meshwright.yaml:5:")
    assert "account takes an account id of 12 digits, but '${env:ACCOUNT}' comes to '12'" in done.stderr
    done = run(tmp_path, "--environment", "live", "validate")
    assert "account has no value: the variable ${env:ACCOUNT} has no value. Set ACCOUNT in" in done.stderr


def test_the_endpoint_is_only_worked_out_where_it_is_needed(tmp_path: Path) -> None:
    """And said with its place where it has no value."""
    files = {"meshwright.yaml": PROJECT + "mesh: shop\nendpoint: ${env:CONTROL}\n", "defs.yaml": node()}
    assert validated(tmp_path, files)["diagnostics"] == []
    done = run(tmp_path, "status")
    assert done.returncode == 2
    assert "Error: meshwright.yaml:4: endpoint has no value: the variable ${env:CONTROL} has no value." in done.stderr
    done = run(tmp_path, "status", CONTROL="http://127.0.0.1:9", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
    assert "http://127.0.0.1:9" in done.stderr


def test_a_missing_value_names_every_place_once_over_all_files(tmp_path: Path) -> None:
    """Whichever way the name is written."""
    files = {
        "meshwright.yaml": "stack: a\ndefinitions: [a.yaml, b.json]\nparameters: {PORT: '${env:P}'}\n",
        "a.yaml": node(host="${HOST}", port='"${PORT}"') + "---\n" + node("pay", host="{{HOST}}", port='"${PORT}"'),
        "b.json": json.dumps({"meshName": "shop", "virtualNodeName": "${HOST}", "spec": {}}),
    }
    report = validated(tmp_path, files)
    assert report["objects"] == []
    assert told(report) == [
        (
            "the variable ${env:P} has no value (at meshwright.yaml:3) | Set P in the build's environment, or give a "
            "default: ${env:P:-text}. Needed at a.yaml:4:30 (spec.listeners[0].portMapping.port), "
            "a.yaml:10:30 (spec.listeners[0].portMapping.port)."
        ),
        (
            "the variable ${HOST} has no value | Give it as --parameter HOST=VALUE or under parameters in "
            "meshwright.yaml. Needed at a.yaml:5:28 (spec.serviceDiscovery.dns.hostname), "
            "a.yaml:11:28 (spec.serviceDiscovery.dns.hostname), b.json:1:22 (virtualNodeName)."
        ),
    ]
    first = report["diagnostics"][0]
    assert (first["rule"], first["path"]) == ("MW011", "spec.listeners[0].portMapping.port")
    assert (first["source"]["file"], first["source"]["line"]) == ("a.yaml", 4)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("${HOST:?the cart's host}", "${HOST:?the cart's host} is needed: the cart's host | "),
        ("${HOST:?}", "${HOST:?} is needed: it has no value | "),
        ("${HOST:-${OTHER}}", "'${HOST:-${OTHER}}' is not understood | Write ${NAME}, ${env:NAME"),
        ("${env:}", "'${env:}' is not understood | "),
        ("${ssm:port}", "${ssm:port} names no parameter of Parameter Store | Name one parameter with its whole path"),
        ("${env:BYTES}", "the variable ${env:BYTES} is not UTF-8 | "),
        ("${A}", "the parameter A is made from itself (at meshwright.yaml:3) | "),
        ("${LONG}", "a value has over 65536 characters (at meshwright.yaml:3) | "),
        ("${file:/etc/hostname}", "${file:/etc/hostname} lies outside of the repository | "),
        ("${file:../x}", "${file:../x} lies outside of the repository | "),
        ("${file:a/../host.txt}", "${file:a/../host.txt} lies outside of the repository | "),
        ("${file:link.txt}", "${file:link.txt} leads out of the repository by a link | "),
        ("${file:linked/hostname}", "${file:linked/hostname} leads out of the repository by a link | "),
        ("${file:.git/config}", "${file:.git/config} is hidden, as files with credentials are | "),
        ("${file:visible.txt}", "${file:visible.txt} is hidden, as files with credentials are | "),
        ("${file:none.txt}", "${file:none.txt} is no file of . | "),
        ("${file:large.txt}", "${file:large.txt} gives no value: the file has over 65536 bytes | "),
        ("${file:binary}", "${file:binary} gives no value: the file is not UTF-8: byte 0xff means nothing here | "),
    ],
)
def test_what_has_no_value_is_told_with_its_reason(tmp_path: Path, written: str, wanted: str) -> None:
    """And the object that needs it is left out."""
    (tmp_path / "link.txt").symlink_to("/etc/hostname")
    (tmp_path / "linked").symlink_to("/etc")
    (tmp_path / "visible.txt").symlink_to(".env")
    (tmp_path / ".env").write_text("hidden")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("hidden")
    (tmp_path / "large.txt").write_text("x" * 65_537)
    (tmp_path / "binary").write_bytes(b"\xff")
    files = {
        "meshwright.yaml": PROJECT + "parameters: {A: '${B}', B: '${A}', L: '${env:L:-" + "x" * 40_000 + "}', "
        "LONG: '${L}${L}'}\n",
        "defs.yaml": node(host=written),
    }
    report = validated(tmp_path, files, BYTES=os.fsdecode(b"\xff"))
    assert report["objects"] == []
    assert [one[: len(wanted)] for one in told(report)] == [wanted]


SECRET = "correct-horse-battery"
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("written", "environ", "wanted"),
    [
        ("${DB_PASSWORD}", {"DB_PASSWORD": SECRET}, "the variable ${DB_PASSWORD} holds a secret"),
        (
            "x${env:githubToken:-none}",
            {"githubToken": SECRET},
            "the variable ${env:githubToken:-none} holds a secret",
        ),
        ("${env:LISTED}", {"LISTED": SECRET}, "the variable ${env:LISTED} holds a secret"),
        ("${MADE}", {"API_KEY": SECRET}, "the variable ${env:API_KEY} holds a secret (at meshwright.yaml:5)"),
        ("${LISTED_TOO}", {}, "the parameter LISTED_TOO is secret"),
        ("${env:URL}", {"URL": f"postgres://me:{SECRET}@db/x"}, "the variable ${env:URL} holds an address with a"),
        ("${env:PEM}", {"PEM": KEY}, "the variable ${env:PEM} holds a private key"),
        ("${file:key.pem}", {}, "${file:key.pem} holds a private key"),
        ("${env:H}", {"H": f"ghp_{'0' * 20}{SECRET}"}, "the variable ${env:H} holds a token of GitHub"),
    ],
)
@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit"])
def test_a_secret_is_refused_wherever_it_stands_and_shown_nowhere(
    tmp_path: Path, written: str, environ: dict[str, str], wanted: str, form: str
) -> None:
    """With file, line and field, by every command that reads definitions; a default does not hide it."""
    project = (
        f"secrets: [LISTED, LISTED_TOO]\nmesh: shop\nparameters: {{MADE: '${{env:API_KEY}}', LISTED_TOO: {SECRET}}}\n"
    )
    files = {"meshwright.yaml": PROJECT + project, "defs.yaml": node(host=written), "key.pem": KEY}
    report = validated(tmp_path, files, **environ)
    assert report["objects"] == []
    (only,) = report["diagnostics"]
    assert only["summary"].startswith(wanted)
    assert only["detail"].startswith("A definition is shown by plans, releases and Describe")
    assert (only["severity"], only["path"]) == ("error", "spec.serviceDiscovery.dns.hostname")
    assert (only["source"]["file"], only["source"]["line"]) == ("defs.yaml", 5)
    shown = run(tmp_path, "validate", "--format", form, **environ)
    assert shown.returncode == 1
    assert SECRET not in shown.stdout + shown.stderr + json.dumps(report)


def test_secrets_do_not_reach_other_dialects_either(tmp_path: Path) -> None:
    """A template's own default does not stand in for what is refused."""
    template = (
        "Parameters: {Host: {Type: String, Default: d}}\nResources:\n  Node:\n    Type: AWS::AppMesh::VirtualNode\n"
        "    Properties:\n      MeshName: shop\n      VirtualNodeName: b\n"
        "      Spec: {ServiceDiscovery: {DNS: {Hostname: !Sub 'x.${Host}'}}}\n"
    )
    module = (
        'variable "host" { default = "d" }\nresource "aws_appmesh_virtual_node" "a" {\n  name = "a"\n'
        '  mesh_name = "shop"\n  spec {\n    service_discovery {\n      dns { hostname = "x.${var.host}" }\n'
        "    }\n  }\n}\n"
    )
    project = "stack: a\ndefinitions: [t.yaml, m.tf]\nparameters: {Host: '${env:H_TOKEN}', host: '${env:H_TOKEN}'}\n"
    files = {"meshwright.yaml": project, "t.yaml": template, "m.tf": module}
    report = validated(tmp_path, files, H_TOKEN=SECRET)
    assert report["objects"] == []
    assert [(one["source"]["file"], one["summary"][:45]) for one in report["diagnostics"]] == [
        ("m.tf", "the variable ${env:H_TOKEN} holds a secret (a"),
        ("t.yaml", "the variable ${env:H_TOKEN} holds a secret (a"),
    ]
    assert SECRET not in json.dumps(report)


def test_expressions_of_templates_and_of_terraform_stay_theirs(tmp_path: Path) -> None:
    """`Fn::Sub` and HCL have `${}` in languages of their own; nobody looks into the build for them."""
    template = (
        "Resources:\n  Node:\n    Type: AWS::AppMesh::VirtualNode\n"
        "    Properties:\n      MeshName: shop\n      VirtualNodeName: cart\n"
        "      Spec: {ServiceDiscovery: {DNS: {Hostname: !Sub '${HOST}'}}}\n"
    )
    report = validated(tmp_path, {"meshwright.yaml": "definitions: [t.yaml]\n", "t.yaml": template}, HOST="build")
    assert told(report) == [
        "HOST is neither a parameter nor a resource of this template | Give it as --parameter HOST=VALUE."
    ]


def test_what_only_sounds_like_a_secret_may_be_named(tmp_path: Path) -> None:
    """The project says so, where it is reviewed."""
    files = {"meshwright.yaml": PROJECT + "public: [TOKEN_HOST]\n", "defs.yaml": node(host="${TOKEN_HOST}")}
    assert hosts(tmp_path, files, TOKEN_HOST="h") == "h"


@pytest.mark.parametrize(
    ("secret", "names"),
    [
        (
            True,
            """AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID AWS_SESSION_TOKEN GITHUB_TOKEN npmToken DB_PASSWORD PGPASSWORD
            MYSQL_PWD CI_JOB_JWT SSH_PRIVATE_KEY encrypted_0a1b_key encrypted_0a1b_iv DOCKER_AUTH_CONFIG dbPassword
            VAULT_TOKEN CI_REGISTRY_PASSWORD api-key APIKEY client.secret PASSPHRASE MY_PAT SESSION_COOKIE
            PGPASS GH_TOKEN2 SLACK_WEBHOOK CREDS DOCKER_PW OAUTH SALT APIKEY2 DB_PASS OAUTH2 dbPassword1 SECRET_3
            AUTH_TOKEN_2 NPM_AUTH1 SENTRY_DSN DATABASE_CONNECTION_STRING WEBHOOK_URL""",
        ),
        (
            False,
            """PWD OLDPWD HOME PATH TRAVIS_BRANCH TRAVIS_PULL_REQUEST AWS_REGION HOST PORT KEYSPACE MONKEY PATTERN
            AUTHOR TOKENIZER_HOST PARTITION_KEY HOST_KEY_ALGORITHM BYPASS COMPASS BASALT PWM AUTHORITY PASSENGERS
            PORT2 CREDIT_HOST WEBHOOKLESS SALTWATER""",
        ),
    ],
)
def test_credentials_are_known_by_their_names(secret: bool, names: str) -> None:
    """As CI services and tools name them."""
    assert [one for one in names.split() if named_secret(one) is not secret] == []


_SIGN = "abcdefghij0123456789ABCDEFGHIJ0123456789"
SHAPES = {
    "a private key": [
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----",
        KEY.replace("\n", "\\n"),
    ],
    "an address with a password": ["redis://:pw@h", "https://u:p@h", f"https://{_SIGN}@h/1", f"//h/x?sig={_SIGN}"],
    "an access key of AWS": ["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"],
    "a token of GitHub": [f"{one}_{_SIGN[:36]}" for one in ("ghp", "gho", "ghu", "ghs", "ghr", "github_pat")],
    "a token of GitLab": [f"glpat-{_SIGN[:20]}"],
    "a token of Slack": [f"xoxb-{_SIGN[:12]}", f"xoxp-{_SIGN[:12]}", f"xapp-1-{_SIGN[:12]}"],
    "a webhook": ["https://hooks.slack.com/services/T0/B0/x", "https://discord.com/api/webhooks/1/x"],
    "a key of Stripe": [f"sk_live_{_SIGN[:24]}", f"rk_test_{_SIGN[:24]}"],
    "a key of Google": [f"AIza{_SIGN[:35]}"],
    "a token of a package registry": [f"npm_{_SIGN[:36]}", f"pypi-{_SIGN}", f"dckr_pat_{_SIGN[:27]}"],
    "a token of Vault": [f"hvs.{_SIGN[:24]}"],
    "a JSON Web Token": [f"eyJhbGciOiJub25l.{_SIGN}.{_SIGN}"],
}
HARMLESS = (
    "", "8080", "cart.shop.internal", "https://git@github.com/acme/cart", "ssh://git@host/x", "http://h:80/?page=2",
    "0123456789abcdef0123456789abcdef01234567", "arn:aws:acm:eu-west-1:111111111111:certificate/AKIA", "ghp_short",
    "user@example.com", "AKIAsomething", "eyJ", "skylight_live", "xox-box", "eu-west-1", "https://h/services/",
)  # fmt: skip


@pytest.mark.parametrize(("what", "values"), SHAPES.items())
def test_credentials_are_known_by_their_shape(what: str, values: list[str]) -> None:
    """Whatever they are called, and whatever stands around them."""
    for value in values:
        for text in (value, f"x {value}", f'{{"a": "{value}"}}', f"a={value}\n"):
            assert secret_in(text) == what, text


def test_what_is_no_credential_is_let_through() -> None:
    """Names, ports, digests and addresses without a password."""
    assert [one for one in HARMLESS if secret_in(one)] == []


@given(
    st.sampled_from([one for values in SHAPES.values() for one in values]), st.text(max_size=30), st.text(max_size=30)
)
def test_no_surroundings_hide_a_credential(value: str, before: str, after: str) -> None:
    """Apart from what makes another word of it."""
    assert secret_in(f"{before} {value} {after}")


@given(
    st.sampled_from(
        ["PASSWORD", "TOKEN", "SECRET", "CREDS", "PW", "OAUTH", "SALT", "WEBHOOK", "API_KEY", "PGPASS", "JWT"]
    ),
    st.from_regex(r"\A(?:[A-Z]{1,8}_){0,2}\Z"),
    st.from_regex(r"\A(?:_?[0-9]{1,3})?\Z"),
)
def test_a_number_or_a_prefix_does_not_make_a_credential_public(word: str, before: str, after: str) -> None:
    """`GH_TOKEN2` is as secret as `TOKEN`, in any spelling of its words."""
    name = f"{before}{word}{after}"
    assert named_secret(name)
    assert named_secret(name.lower())
    assert named_secret(name.replace("_", "-"))


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, ""),
        ({"TRAVIS": "true", "TRAVIS_PULL_REQUEST": "false", "TRAVIS_EVENT_TYPE": "push"}, ""),
        ({"TRAVIS": "true", "TRAVIS_PULL_REQUEST": "12", "TRAVIS_EVENT_TYPE": "pull_request"}, "pull request 12"),
        ({"GITHUB_REF": "refs/pull/7/merge", "GITHUB_EVENT_NAME": "pull_request"}, "pull request 7"),
        ({"GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_NAME": "push"}, ""),
        ({"GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_NAME": "pull_request_target"}, "a pull request"),
        ({"CI_MERGE_REQUEST_IID": "3", "CI_PIPELINE_SOURCE": "merge_request_event"}, "merge request 3"),
        ({"CI_PIPELINE_SOURCE": "push"}, ""),
    ],
)
def test_a_pull_request_is_known_by_the_environment(environ: dict[str, str], wanted: str) -> None:
    """Of each CI service, and in doubt it is one."""
    assert pull_request(environ) == wanted


PULL = {"TRAVIS": "true", "TRAVIS_PULL_REQUEST": "12", "TRAVIS_EVENT_TYPE": "pull_request"}


def test_in_a_pull_request_parameter_store_is_not_asked(tmp_path: Path) -> None:
    """An object that needs it is left out of what is checked, which is said; a default stands where there is one."""
    files = {
        "meshwright.yaml": PROJECT + "mesh: shop\nparameters: {PORT: '${ssm:/shop/port}'}\n",
        "defs.yaml": node(port='"${PORT}"', host="${ssm:/shop/host}")
        + "---\n"
        + node("pay", host="${ssm:/h:-pay.local}"),
    }
    # Nobody listens there: whoever asked would fail, and say so.
    nowhere = {"AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    report = validated(tmp_path, files, **PULL, **nowhere)
    assert report["objects"] == ["mesh/shop/virtualNode/pay"]
    assert [(one["severity"], one["summary"]) for one in report["diagnostics"]] == [
        ("warning", "${ssm:/shop/port} is not asked for in pull request 12 (at meshwright.yaml:4)"),
        ("warning", "${ssm:/shop/host} is not asked for in pull request 12"),
    ]
    assert "Give a default (${…:-text}), or choose an environment" in report["diagnostics"][0]["detail"]
    for command in (["plan"], ["test", "--list"], ["apply"]):
        done = (
            run(tmp_path, *command, "--stack", "cart", **PULL, **nowhere)
            if command[0] != "test"
            else run(tmp_path, *command, **PULL, **nowhere)
        )
        assert done.returncode in {1, 2}, command
        assert "${ssm:/shop/port} is not asked for in pull request 12" in done.stderr, command


def test_in_a_pull_request_a_secret_is_refused_as_ever(tmp_path: Path) -> None:
    """So that nobody learns of it after the merge only; the variable is not even there in a stranger's."""
    files = {"meshwright.yaml": PROJECT, "defs.yaml": node(host="${env:DB_PASSWORD:-none}")}
    report = validated(tmp_path, files, **PULL)
    assert [(one["severity"], one["summary"]) for one in report["diagnostics"]] == [
        ("error", "the variable ${env:DB_PASSWORD:-none} holds a secret")
    ]


@given(st.text(alphabet="${}:-?envsmfile/A1% ", max_size=40))
def test_what_is_no_expression_is_kept_to_the_letter(text: str) -> None:
    """Put together again, the pieces are the text."""
    whole = "".join(one if isinstance(one, str) else one.written for one in pieces(text))
    assert whole == text or "$${" in text
