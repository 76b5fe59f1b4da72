"""What a job's token proves of its build is kept apart from what the job says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from building import TRUST, Jobs, building, travis
from meshwright.errors import NotFoundException
from meshwright.release import ApplyRequest, Build, RollbackRequest
from meshwright.trust.builds import FACTS
from meshwright.views.releases import history_text, status_text
from test_releases import SHIFTED, SHOP
from test_trust_file import settled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.remote import Client


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A control plane for the jobs of a test."""
    with building(tmp_path) as running:
        yield running


def verified(job: Client, **more: Any) -> dict[str, Any] | None:
    """What the release of a job that applies the shop has of its build."""
    outcome = job.apply("m", "shop", ApplyRequest(resources=SHOP, **more))
    found: dict[str, Any] | None = outcome["release"]["verified"]
    return found


GITHUB = {
    "aud": "github",
    "repository": "acme/shop",
    "ref": "refs/heads/main",
    "ref_type": "branch",
    "base_ref": "",
    "sha": "abc",
    "actor": "octocat",
    "event_name": "push",
    "workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
    "run_id": "1729",
    "run_number": "10",
    "run_attempt": "3",
}
GITLAB = {
    "aud": "gitlab",
    "project_path": "acme/shop",
    "ref": "main",
    "ref_type": "branch",
    "sha": "abc",
    "user_login": "tanuki",
    "pipeline_source": "push",
    "pipeline_id": "1574571650",
    "pipeline_iid": "12",
    "job_id": "302",
}


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        (
            travis(7, restart_count=1, author="ann"),
            {
                "ci": "travis",
                "repository": "acme/shop",
                "branch": "main",
                "commit": f"{7:040x}",
                "author": "ann",
                "event": "push",
                "build_id": "9007",
                "build_number": "7",
                "job_id": "90071",
                "job_number": "7.1",
                "restart_count": "1",
            },
        ),
        (
            GITHUB,
            {
                "ci": "github",
                "repository": "acme/shop",
                "branch": "main",
                "commit": "abc",
                "author": "octocat",
                "event": "push",
                "pipeline": "acme/shop/.github/workflows/deploy.yml",
                "build_id": "1729",
                "build_number": "10",
                "restart_count": "2",
            },
        ),
        (
            {"aud": "github", "ref": "refs/pull/9/merge", "base_ref": "main", "run_id": 5},
            {"ci": "github", "branch": "main", "pull_request": "9", "build_id": "5", "repository": "acme/cart"},
        ),
        (
            {"aud": "github", "ref": "refs/tags/v1"},
            {"ci": "github", "tag": "v1", "repository": "acme/cart"},
        ),
        (
            GITLAB,
            {
                "ci": "gitlab",
                "repository": "acme/shop",
                "branch": "main",
                "commit": "abc",
                "author": "tanuki",
                "event": "push",
                "build_id": "1574571650",
                "build_number": "12",
                "job_id": "302",
            },
        ),
        (
            {"aud": "gitlab", "ref": "v1", "ref_type": "tag"},
            {"ci": "gitlab", "tag": "v1"},
        ),
        (
            {"aud": "ours", "project": "acme/own", "run": 12, "branch": "main"},
            {"repository": "acme/own", "build_number": "12"},
        ),
    ],
    ids=["travis", "github", "github-pull-request", "github-tag", "gitlab", "gitlab-tag", "declared"],
)
def test_a_release_keeps_what_the_jobs_token_proves(
    jobs: Jobs, claims: dict[str, Any], found: dict[str, Any]
) -> None:
    """By the claims that its CI service is known for, or that the trust file names."""
    jobs.trust(TRUST.replace("{mesh: m}", "{mesh: m, pull_requests: true}"))
    one = verified(jobs.job(**claims), build=Build(ci="travis", repository="evil/shop", build_number="999"))
    assert one == {"issuer": jobs.plane.issuer.url, **found}


def test_what_nobody_vouches_for_is_not_verified(jobs: Jobs) -> None:
    """A user's key and a token of an unknown service say nothing of a build, whatever the job says."""
    claimed = Build(ci="travis", repository="acme/shop", build_number="42")
    assert verified(jobs.job(aud="plain", build_number="42"), build=claimed) is None
    outcome = jobs.user("alice").apply("m", "other", ApplyRequest(resources=(), build=claimed))
    assert outcome["release"] is None


def test_a_session_proves_its_build_also_to_the_role_that_it_takes(jobs: Jobs) -> None:
    """Or a job could shake off its number by one more call."""
    found = verified(jobs.through("second", **travis(7)))
    assert found is not None
    assert found["build_number"] == "7"


def test_history_and_status_show_the_two_apart(jobs: Jobs) -> None:
    """Each in a column of its own."""
    job = jobs.job(**travis(7))
    job.apply("m", "shop", ApplyRequest(resources=SHOP, build=Build(build_number="99", commit="1234567890")))
    head, row = history_text(job.releases("m", "shop")).splitlines()
    columns = {name: row[head.index(name) :].split("  ")[0] for name in ("VERIFIED BUILD", "CLAIMED BUILD")}
    assert columns == {"VERIFIED BUILD": "#7 00000000 acme/shop@main", "CLAIMED BUILD": "#99 12345678"}
    assert "#7 00000000 acme/shop@main" in status_text(job.status())
    assert job.release("m", "shop", 1)["verified"]["build_number"] == "7"


def test_a_build_is_found_by_its_verified_number(jobs: Jobs) -> None:
    """What a job claims finds only releases of which nothing is verified."""
    job = jobs.job(**travis(7))
    job.apply("m", "shop", ApplyRequest(resources=SHOP, build=Build(build_number="99")))
    with pytest.raises(NotFoundException, match="from build '99'"):
        job.roll_back("m", "shop", RollbackRequest(to_build="99"))
    assert job.roll_back("m", "shop", RollbackRequest(to_build="7"))["changed"] is False


def test_releases_are_found_by_the_role_of_whoever_made_them(jobs: Jobs) -> None:
    """Each of its sessions has a name of its own; another role's that begins so is not one of them."""
    for number, content in ((7, SHOP), (8, SHIFTED)):
        jobs.job(**travis(number)).apply("m", "shop", ApplyRequest(resources=content))
    for asked, numbers in (("role/deployer", [2, 1]), ("role/deploy", []), ("user/deployer", [])):
        found = jobs.user().releases("m", "shop", 10, {"principal": asked})["releases"]
        assert [one["number"] for one in found] == numbers, asked


def test_a_fact_that_there_is_not_is_refused_with_what_there_is() -> None:
    """A typo would leave builds unverified unseen."""
    with pytest.raises(Exception, match=r"issuers.a.build.build_nmber: .* did you mean 'build_number'"):
        settled("version: 1\nissuers: {a: {url: 'https://a', audiences: [x], build: {build_nmber: run}}}")


def test_every_fact_is_a_member_of_a_build() -> None:
    """The two lists are one."""
    assert {*FACTS, "ci", "issuer"} == set(Build.__struct_fields__)
