"""A hunt for secrets: known ones in every source, every command against a live control plane, then a search of all.

What is searched: all output, all files that were written, the database with its journals, and the arguments of every
process that ran; for each secret plain, in Base64, URL-encoded and escaped as in JSON.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloud_map import moto
from live import live
from parameter_store import door

if TYPE_CHECKING:
    from collections.abc import Iterator

    from live import Live

pytestmark = [pytest.mark.timeout(300)]  # the first of those with moto installs it

SECRETS = {
    "DB_PASSWORD": 'pa"ss/wörd+of=the&build',
    "LISTED": "listed<secret>value-11",
    "SECURE": "secure string\\value-22",
    "URL": "postgres://shop:address%2Fpass-33@db.local/x",
    "PEM": "-----BEGIN PRIVATE KEY-----\nMIIbody-44+/=\n-----END PRIVATE KEY-----\n",
}
WORDS = (
    'pa"ss/wörd+of=the&build',
    "listed<secret>value-11",
    "secure string\\value-22",
    "address%2Fpass-33",
    "MIIbody-44+/=",
)
"""What is looked for: of the last two, the part that matters."""

GOOD = """\
meshName: shop
spec: {}
---
meshName: shop
virtualNodeName: cart
spec:
  listeners: [{portMapping: {port: 8080, protocol: http}}]
  serviceDiscovery: {dns: {hostname: "${HOST}"}}
"""
BAD = "meshName: shop\nvirtualNodeName: %s\nspec: {serviceDiscovery: {dns: {hostname: '%s'}}}\n"
WANTED = (
    "x-${env:DB_PASSWORD}-y",
    "${DB_PASSWORD:-none}",
    "${env:LISTED}",
    "${ssm:/shop/db}",
    "${SECURE}",
    "${env:URL}",
    "${file:key.pem}",
    "${MADE}",
)
PROJECT = """\
stack: cart
mesh: shop
definitions: [good.yaml]
tests: [tests.yaml]
secrets: [LISTED]
parameters:
  HOST: cart.local
  MADE: https://${env:DB_PASSWORD}@x
parameters_from: ${ssm:/shop/all/}
environments:
  broken: {endpoint: "${env:URL}"}
  secure: {mesh: "${ssm:/shop/db}"}
"""
TESTS = "- {name: t, from: cart, request: {url: http://nobody.local:8080/}, expect: {status: 200}}\n"


def forms(secret: str) -> Iterator[bytes]:
    """`secret` as it may be written; in Base64 at each of the three offsets, without the ends that differ."""
    raw = secret.encode()
    yield raw
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + raw).rstrip(b"=")
        middle = coded[4 if before else 0 : -2]
        yield from (middle, middle.replace(b"+", b"-").replace(b"/", b"_"))
    yield urllib.parse.quote(secret, safe="").encode()
    yield urllib.parse.quote_plus(secret).encode()
    yield json.dumps(secret)[1:-1].encode()
    yield json.dumps(secret, ensure_ascii=False)[1:-1].encode()


FORMS = {form: word for word in WORDS for form in forms(word)}


def hunted(haystack: bytes) -> list[str]:
    """The secrets that are in `haystack` in any form."""
    return sorted({word for form, word in FORMS.items() if form in haystack})


class Hunt:
    """Runs commands and keeps whatever came of them."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self._environ = environ
        self.seen: list[bytes] = []
        self.arguments: set[bytes] = set()

    def run(self, *arguments: str, code: int) -> str:
        """A command, which ends with `code`."""
        command = [sys.executable, "-m", "meshwright.cli", *arguments]
        with (self.folder.parent / "said.log").open("w+b") as said:
            process = subprocess.Popen(command, cwd=self.folder, env=self._environ, stdout=said, stderr=said)
            while process.poll() is None:
                self._look(process.pid)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.01)
            said.seek(0)
            out = said.read()
        self.seen.append(out)
        assert process.returncode == code, (arguments, out.decode())
        return out.decode()

    def _look(self, pid: int) -> None:
        """The arguments of a process and of those that it started."""
        with contextlib.suppress(OSError):
            self.arguments.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            for task in Path(f"/proc/{pid}/task").iterdir():
                for child in (task / "children").read_text().split():
                    self._look(int(child))

    def files(self, *but: str) -> dict[Path, bytes]:
        """Every file that is there, but for those that the secrets were put into."""
        every = (one for one in self.folder.parent.rglob("*") if one.is_file() and one.name not in but)
        return {one: one.read_bytes() for one in every}


def everything(hunt: Hunt, server: Live) -> None:
    """All commands that read definitions, with good ones and with bad ones."""
    for form in ("text", "json", "sarif", "junit"):
        hunt.run("validate", "--format", form, code=0)
    for form in ("text", "json", "markdown"):
        hunt.run("plan", "--format", form, code=0)
    hunt.run("plan", "--out", "plan.json", code=0)
    hunt.run("apply", code=0)
    hunt.run("history", code=0)
    hunt.run("drift", code=0)
    hunt.run("status", code=0)
    hunt.run("graph", "--format", "json", code=0)
    reports = ("--junit", "junit.xml", "--html", "page.html", "--report", "report.json")
    hunt.run("test", "--simulate", *reports, code=1)
    hunt.run("--environment", "broken", "plan", code=2)
    hunt.run("--environment", "secure", "plan", code=2)
    bad = [BAD % (f"n{number}", wanted) for number, wanted in enumerate(WANTED)]
    (hunt.folder / "bad.yaml").write_text("---\n".join(bad))
    for form in ("text", "json", "sarif", "junit"):
        told = hunt.run("validate", "bad.yaml", "--part", "--format", form, code=1)
        assert told.count("MW011") >= len(WANTED) - 1  # two of them lack the same
    for command in (["plan", "bad.yaml"], ["apply", "bad.yaml"]):
        assert "bad.yaml:3" in hunt.run(*command, code=1)
    hunt.run("route", "bad.yaml", "--from", "n0", "http://x.local/", code=2)
    hunt.run("graph", "bad.yaml", code=1)
    assert server.process.poll() is None


def test_the_hunter_finds_what_is_there() -> None:
    """In each form; otherwise it would prove nothing."""
    for word in WORDS:
        for form in forms(word):
            assert hunted(b"before" + form + b"after") == [word]
        for before in ("", "a", "ab"):
            assert word in hunted(base64.b64encode(f"{before}{word} and more".encode()))
    assert hunted(b"nothing of it") == []


def test_no_secret_is_found_anywhere(tmp_path: Path) -> None:
    """Neither where it may be used nor where it is refused."""
    work, kept = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    kept.mkdir()
    files = {"meshwright.yaml": PROJECT, "good.yaml": GOOD, "tests.yaml": TESTS, "key.pem": SECRETS["PEM"]}
    for name, text in files.items():
        (work / name).write_text(text)
    with moto(kept) as cloud, door(cloud) as store, live(tmp_path / "data", "--region", "eu-west-1") as server:
        store.put("/shop/db", SECRETS["SECURE"], "SecureString")
        store.put("/shop/all/SECURE", SECRETS["SECURE"], "SecureString")
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environ |= store.environment | {name: SECRETS[name] for name in ("DB_PASSWORD", "LISTED", "URL")}
        environ |= {"AWS_ENDPOINT_URL_APP_MESH": server.api, "LANG": "C.UTF-8"}
        hunt = Hunt(work, environ | {"AWS_ACCESS_KEY_ID": server.key.id, "AWS_SECRET_ACCESS_KEY": server.key.secret})
        everything(hunt, server)
        server.end()
    found = {str(path): hunted(text) for path, text in hunt.files("key.pem", "moto.log").items()}
    assert {path: words for path, words in found.items() if words} == {}
    assert [one for one in hunt.seen if hunted(one)] == []
    assert [one for one in hunt.arguments if hunted(one)] == []
    assert any(b"meshwright.cli" in one for one in hunt.arguments)
    assert {"plan.json", "junit.xml", "page.html", "report.json", "meshwright.db"} <= {
        one.name for one in hunt.files()
    }
    assert not any(one.get("WithDecryption") for _, one in store.calls)
