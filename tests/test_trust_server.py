"""`serve` with a trust file: decided by it at once, read anew when it changes, kept when a new version is broken."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from meshwright.api.trusted import Trusted
from meshwright.cli.stores import opened
from meshwright.errors import UsageError
from meshwright.store.contract import AccessKey
from processes import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRUST = """
version: 1
environments:
  test: {account: "111111111111", region: eu-central-1, mesh: shop, quotas: {meshes: 1}}
  other: {mesh: shop}
policies:
  all: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "appmesh:*", Resource: "*"}}
users:
  operator: {stack: platform, owns: [mesh, "mesh/second"], permissions: [all]}
"""
KEY = AccessKey(id="AKIAOPERATOR", secret="secret-of-operator", principal="operator", created_at=0)


@contextlib.contextmanager
def served(folder: Path, *more: str) -> Iterator[dict[str, Any]]:
    """A server on free ports, with operator's key; what it said when it was ready, and its log when it has ended."""
    command = [sys.executable, "-m", "meshwright.cli", "serve", "--listen", "127.0.0.1:0", "--xds", "127.0.0.1:0"]
    command += ["--data-dir", str(folder), "--format", "json", *more]
    with (folder.parent / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            log.seek(0)
            assert line, log.read()
            with opened(folder) as store:
                if store.key(KEY.id) is None:
                    store.add_key(KEY)
            yield json.loads(line)
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE)


def operator(api: str) -> Any:
    """Her stock client."""
    return boto3.session.Session().client(
        "appmesh",
        endpoint_url=api,
        region_name="eu-central-1",
        aws_access_key_id=KEY.id,
        aws_secret_access_key=KEY.secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def code(call: Any) -> str:
    """The error that a call ends with; "" for none."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def broken(api: str) -> bool:
    """Whether the metrics tell of a broken trust file."""
    with urllib.request.urlopen(f"{api}/metrics", timeout=DEADLINE) as answer:  # noqa: S310 - the server of this test
        return "meshwright_trust_file_broken 1.0" in answer.read().decode()


def test_a_server_decides_by_its_trust_file_and_follows_it(tmp_path: Path) -> None:
    """Account, region and quotas are the environment's; a change counts within seconds, a broken one never."""
    folder, file = tmp_path / "data", tmp_path / "trust.yaml"
    file.write_text(TRUST, encoding="utf-8")
    with served(folder, "--trust", str(file), "--environment", "test") as said:
        client = operator(said["api"])
        made = client.create_mesh(meshName="shop")["mesh"]["metadata"]
        assert made["arn"] == "arn:aws:appmesh:eu-central-1:111111111111:mesh/shop"
        assert code(lambda: client.create_mesh(meshName="second")) == "LimitExceededException"
        assert code(lambda: client.create_mesh(meshName="third")) == "AccessDeniedException"
        file.write_text(TRUST.replace("appmesh:*", "appmesh:Describe*"), encoding="utf-8")
        until(lambda: code(lambda: client.update_mesh(meshName="shop", spec={})) == "AccessDeniedException")
        file.write_text(TRUST.replace("users:", "userz:"), encoding="utf-8")
        until(lambda: broken(said["api"]))
        assert code(lambda: client.describe_mesh(meshName="shop")) == ""
        file.unlink()
        file.write_text(TRUST, encoding="utf-8")
        until(lambda: code(lambda: client.update_mesh(meshName="shop", spec={})) == "")
        assert not broken(said["api"])
    assert "did you mean 'users'?" in (tmp_path / "log").read_text(encoding="utf-8")


def test_the_file_in_the_data_directory_is_found(tmp_path: Path) -> None:
    """Without an option, and with several environments only once one is chosen."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "trust.yaml").write_text(TRUST.replace("  other: {mesh: shop}\n", ""), encoding="utf-8")
    with served(folder) as said:
        assert code(lambda: operator(said["api"]).create_mesh(meshName="shop")) == ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "declares several environments; choose with --environment one of: test, other."),
        (("--environment", "tset"), "declares no environment 'tset'. Did you mean 'test'?"),
        (
            ("--environment", "test", "--account", "222222222222"),
            "is of account 111111111111; this server is of account",
        ),
        (("--trust", "absent.yaml"), "there is no such file"),
    ],
)
def test_what_cannot_be_decided_by_is_not_served(tmp_path: Path, more: tuple[str, ...], words: str) -> None:
    """One clear message, exit code 2."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "trust.yaml").write_text(TRUST, encoding="utf-8")
    command = [sys.executable, "-m", "meshwright.cli", "serve", "--listen", "127.0.0.1:0", "--xds", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, "--data-dir", str(folder), *more], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_a_file_is_looked_at_only_when_it_changed(tmp_path: Path) -> None:
    """And one that is gone leaves what was."""
    file = tmp_path / "trust.yaml"
    file.write_text(TRUST, encoding="utf-8")
    trusted = Trusted(file, "other", account="000000000000", region="us-east-1")
    first = trusted.authority()
    assert not trusted.look()
    assert trusted.authority() is first
    file.unlink()
    assert trusted.look()
    assert (trusted.authority(), bool(trusted.fault)) == (first, True)
    file.write_text(TRUST.replace("operator", "another"), encoding="utf-8")
    assert trusted.look()
    assert (set(trusted.authority().settled.users), trusted.fault) == ({"another"}, "")
    with pytest.raises(UsageError):
        Trusted(file, "absent", account="000000000000", region="us-east-1")
