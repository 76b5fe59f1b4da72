"""Environments that are accounts of their own: one command of one job is somebody else in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from exchanging import Plane, planes
from meshwright.release import Status
from serving import now
from test_values import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEV, STAGING = "111111111111", "222222222222"
PROJECT = """
stack: cart
mesh: shop
definitions: [mesh.yaml]
environments:
  dev: {{account: "111111111111", endpoint: "{dev}"{more}}}
  staging: {{account: "222222222222", endpoint: "{staging}"{more}}}
"""
DEFINITIONS = """
meshName: shop
spec: {}
---
virtualNodeName: cart
spec: {listeners: [{portMapping: {port: 80, protocol: http}}], serviceDiscovery: {dns: {hostname: cart.internal}}}
"""
PROMOTE = ("promote", "--from", "dev", "--to", "staging")


class Site(NamedTuple):
    """Two control planes, and the project of a job."""

    dev: Plane
    staging: Plane
    folder: Path

    def project(self, dev: str = "", staging: str = "") -> None:
        """Write it; `dev` and `staging` are what else the environments say."""
        text = PROJECT.format(dev=self.dev.server.url, staging=self.staging.server.url, more="%s")
        (self.folder / "meshwright.yaml").write_text(text % (dev and f", {dev}", staging and f", {staging}"))

    def verified(self) -> None:
        """Let the newest release of dev be verified, as if every check had passed."""
        for status in (Status.PROPAGATED, Status.VERIFIED):
            self.dev.server.store.mark("shop", "cart", 1, status, principal="p", at=now())

    def released_by(self) -> str:
        """Who made the release of staging."""
        (made,) = self.staging.server.store.releases("shop", "cart")
        assert made.promotes is not None
        return made.principal


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Both trust one issuer."""
    for name in ("dev", "staging", "project"):
        (tmp_path / name).mkdir()
    with planes(tmp_path / "dev", DEV) as dev, planes(tmp_path / "staging", STAGING, dev.issuer) as staging:
        (tmp_path / "project" / "mesh.yaml").write_text(DEFINITIONS)
        (tmp_path / "token").write_text(dev.issuer.token())
        yield Site(dev, staging, tmp_path / "project")


@pytest.mark.parametrize("account", [DEV, STAGING])
def test_the_role_of_a_variable_is_meant_in_the_account_of_each_environment(site: Site, account: str) -> None:
    """Whichever of them the variable names, and although AWS's variables know one STS only."""
    site.project()
    job = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(site.folder.parent / "token"),
        "AWS_ROLE_ARN": f"arn:aws:iam::{account}:role/releaser",
        "AWS_ENDPOINT_URL_STS": site.dev.server.url,
    }
    done = run(site.folder, "--environment", "dev", "apply", **job)
    assert done.returncode == 0, done.stderr
    site.verified()
    done = run(site.folder, *PROMOTE, **job)
    assert done.returncode == 0, done.stderr
    assert site.released_by().startswith(f"arn:aws:sts::{STAGING}:assumed-role/releaser/")


def test_an_environment_names_its_role_and_its_token(site: Site) -> None:
    """By name or by ARN: each control plane may have an audience of its own, which takes a token of its own."""
    for name in ("dev", "staging"):
        (site.folder / f"{name}.jwt").write_text(site.dev.issuer.token())
    site.project(
        "token_file: dev.jwt, role: releaser",
        f"token_file: staging.jwt, role: 'arn:aws:iam::{STAGING}:role/releaser'",
    )
    assert run(site.folder, "--environment", "dev", "apply").returncode == 0
    site.verified()
    (site.folder / "staging.jwt").write_text(site.dev.issuer.token(sub="repo:acme/other:ref:refs/heads/main"))
    refused = run(site.folder, *PROMOTE)
    assert refused.returncode == 1
    assert f"gives no session of arn:aws:iam::{STAGING}:role/releaser for the token in staging.jwt" in refused.stderr
    (site.folder / "staging.jwt").write_text(site.dev.issuer.token())
    done = run(site.folder, *PROMOTE)
    assert done.returncode == 0, done.stderr
    assert ":assumed-role/releaser/" in site.released_by()


def test_one_token_and_one_name_of_a_role_serve_all_environments(site: Site) -> None:
    """In variables of Meshwright's own, which beat what the file says."""
    site.project("profile: nobody", "profile: nobody, role: nobody")
    job = {"MESHWRIGHT_TOKEN_FILE": str(site.folder.parent / "token")}
    refused = run(site.folder, "--environment", "dev", "apply", **job)
    assert refused.returncode == 2
    assert "MESHWRIGHT_ROLE is not set" in refused.stderr
    job["MESHWRIGHT_ROLE"] = "releaser"
    assert run(site.folder, "--environment", "dev", "apply", **job).returncode == 0
    site.verified()
    done = run(site.folder, *PROMOTE, **job)
    assert done.returncode == 0, done.stderr
    assert ":assumed-role/releaser/" in site.released_by()


def test_an_environment_names_the_profile_whose_key_it_knows(site: Site) -> None:
    """For whoever has keys, of which each control plane has its own."""
    site.project("profile: dev", "profile: staging")
    keys = {"dev": ("AKIAADMINISTRATOR", "a-secret"), "staging": ("AKIASTRANGER0000", "s-secret")}
    text = "".join(
        f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
        for name, (key, secret) in keys.items()
    )
    (site.folder.parent / "credentials").write_text(text)
    job = {"AWS_SHARED_CREDENTIALS_FILE": str(site.folder.parent / "credentials")}
    assert run(site.folder, "--environment", "dev", "apply", **job).returncode == 0
    site.verified()
    refused = run(site.folder, *PROMOTE, **job)
    assert refused.returncode == 1
    assert "user/stranger is not authorized" in refused.stderr
