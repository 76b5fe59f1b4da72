"""A build that finishes late does not undo a newer one's release, whatever the order in which they finish."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from building import TRUST, Jobs, building, travis
from meshwright.errors import RefusedError
from meshwright.release import ApplyRequest, Build, OlderBuildError, RollbackRequest, Status
from meshwright.store.sqlite import connect
from test_releases import SHIFTED, SHOP, node
from test_verified_builds import GITHUB, GITLAB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.release import Item
    from meshwright.remote import Client


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A control plane for the jobs of a test."""
    with building(tmp_path) as running:
        yield running


def applied(job: Client, *content: Item, stack: str = "shop", **more: Any) -> dict[str, Any]:
    """What a job that applies `content` is answered."""
    return job.apply("m", stack, ApplyRequest(resources=content or SHOP, **more))


def title(outcome: dict[str, Any]) -> str:
    """The release that an answer is about."""
    return str(outcome["release"]["title"])


def test_an_older_build_is_refused_and_told_which_newer_one_runs(jobs: Jobs) -> None:
    """By name, number and release; what runs stays."""
    applied(jobs.job(**travis(12)), *SHIFTED)
    with pytest.raises(OlderBuildError) as refused:
        applied(jobs.job(**travis(11)))
    assert str(refused.value) == (
        "Build 11 of acme/shop (main) is older than build 12, whose release is shop#1: what is newer stays. "
        "Nothing was changed."
    )
    assert refused.value.exit_code == 1
    assert len(jobs.plane.server.store.releases("m", "shop")) == 1


def test_numbers_are_compared_as_numbers(jobs: Jobs) -> None:
    """`9` is older than `10`."""
    applied(jobs.job(**travis(9)))
    assert applied(jobs.job(**travis(10)), *SHIFTED)["changed"] is True
    with pytest.raises(OlderBuildError):
        applied(jobs.job(**travis(9)))


def test_a_newer_build_that_changes_nothing_counts_as_well(jobs: Jobs) -> None:
    """What runs is as it wants it; an older one that comes after it comes too late."""
    applied(jobs.job(**travis(10)))
    found = applied(jobs.job(**travis(12)))
    assert (found["changed"], title(found), found["fenced"]) == (False, "shop#1", True)
    with pytest.raises(OlderBuildError, match=r"Build 11 .* older than build 12, whose release is shop#1"):
        applied(jobs.job(**travis(11)), *SHIFTED)
    with closing(connect(_path(jobs))) as store:
        assert store.verify().faults == ()
        assert store.revisions()[-1].cause == "confirm shop#1"
    before = jobs.plane.server.store.head().revision
    assert applied(jobs.job(**travis(12)))["changed"] is False
    assert jobs.plane.server.store.head().revision == before, "the same build again has nothing to write down"


def test_jobs_and_restarts_of_one_build_are_answered_with_its_release(jobs: Jobs) -> None:
    """And what another job of it wants is a next release: steps of a canary are such."""
    first = applied(jobs.job(**travis(12)))
    again = applied(jobs.job(**travis(12, job_id="2", restart_count="1")))
    assert (again["changed"], title(again)) == (False, title(first))
    other = applied(jobs.job(**travis(12, job_number="12.2")), *SHIFTED)
    assert (other["changed"], title(other)) == (True, "shop#2")


@pytest.mark.parametrize(
    "claims",
    [
        travis(11, branch="hotfix"),
        travis(11, repository="acme/other"),
        travis(11, event="pull_request", pull_request="7"),
        {**GITHUB, "repository": "acme/shop", "run_number": "11"},
    ],
    ids=["branch", "repository", "pull-request", "service"],
)
def test_what_has_other_numbers_is_another_series(jobs: Jobs, claims: dict[str, Any]) -> None:
    """Numbers of another repository, branch or service say nothing about age."""
    jobs.trust(TRUST.replace("{mesh: m}", "{mesh: m, pull_requests: true}"))
    applied(jobs.job(**travis(12)))
    assert applied(jobs.job(**claims), *SHIFTED)["changed"] is True
    with pytest.raises(OlderBuildError, match=r"is older than build 12"):
        applied(jobs.job(**travis(11)))


def test_a_workflow_numbers_its_own_runs(jobs: Jobs) -> None:
    """GitHub counts by workflow: the first run of a new one is no older than the tenth of another."""
    applied(jobs.job(**GITHUB))
    new = {**GITHUB, "run_number": "1", "workflow_ref": "acme/shop/.github/workflows/new.yml@refs/heads/main"}
    assert applied(jobs.job(**new), *SHIFTED)["changed"] is True
    with pytest.raises(OlderBuildError, match="Build 9 of"):
        applied(jobs.job(**{**GITHUB, "run_number": "9"}))


def test_without_a_number_the_id_tells(jobs: Jobs) -> None:
    """An older GitLab has no number of a pipeline in its tokens; its ids only grow."""
    plain = {name: value for name, value in GITLAB.items() if name != "pipeline_iid"}
    applied(jobs.job(**plain))
    with pytest.raises(OlderBuildError, match="Build 1574571649 of"):
        applied(jobs.job(**{**plain, "pipeline_id": "1574571649"}))
    assert applied(jobs.job(**{**GITLAB, "pipeline_id": "1574571651"}), *SHIFTED)["changed"] is True


def test_tags_of_a_repository_are_one_series(jobs: Jobs) -> None:
    """Each has a name of its own, and the older release of two is not to win."""
    tagged = travis(12, branch="", tag="v1.2")
    applied(jobs.job(**tagged))
    with pytest.raises(OlderBuildError, match=r"Build 11 of acme/shop \(v1.1\)"):
        applied(jobs.job(**travis(11, branch="", tag="v1.1")))


def test_another_stack_or_mesh_has_its_own(jobs: Jobs) -> None:
    """A build may release several stacks."""
    applied(jobs.job(**travis(12)))
    assert applied(jobs.job(**travis(11)), node("c"), stack="other")["changed"] is True


def test_a_rollback_counts_by_the_build_that_makes_it(jobs: Jobs) -> None:
    """It fences older builds out, and an older build's own rollback is refused."""
    applied(jobs.job(**travis(10)))
    applied(jobs.job(**travis(11)), *SHIFTED)
    with pytest.raises(OlderBuildError, match="Build 10 of"):
        jobs.job(**travis(10)).roll_back("m", "shop", RollbackRequest(to=1))
    jobs.job(**travis(13)).roll_back("m", "shop", RollbackRequest(to=1))
    with pytest.raises(OlderBuildError, match="older than build 13, whose release is shop#3"):
        applied(jobs.job(**travis(12)), *SHIFTED)


def test_a_build_that_was_rolled_back_does_not_come_back_by_itself(jobs: Jobs) -> None:
    """By a job that comes late; a person who starts it again means it."""
    applied(jobs.job(**travis(10)))
    applied(jobs.job(**travis(11)), *SHIFTED)
    jobs.user("alice").roll_back("m", "shop", RollbackRequest(to=1))
    with pytest.raises(OlderBuildError, match=r"Build 11 of .* was rolled back after its release shop#2"):
        applied(jobs.job(**travis(11)), *SHIFTED)
    assert applied(jobs.job(**travis(11, restart_count="1")), *SHIFTED)["changed"] is True


def test_a_build_that_rolled_itself_back_stays_so(jobs: Jobs) -> None:
    """Its other job comes late."""
    applied(jobs.job(**travis(10)))
    applied(jobs.job(**travis(11)), *SHIFTED)
    jobs.job(**travis(11)).roll_back("m", "shop", RollbackRequest(to=1))
    with pytest.raises(OlderBuildError, match=r"Build 11 of .* was rolled back by itself, with shop#3"):
        applied(jobs.job(**travis(11)), *SHIFTED)


def test_a_rollback_to_the_last_good_release_goes_back_once_for_all_jobs_of_a_build(jobs: Jobs) -> None:
    """A restart, or another job of it, finds its own; another build, or a release by name, goes further back."""
    contents = (SHOP, SHIFTED, (*SHOP, node("c")), (*SHIFTED, node("d")))
    for number, content in enumerate(contents, 1):
        applied(jobs.job(**travis(number)), *content)
        jobs.plane.server.store.mark("m", "shop", number, Status.PROPAGATED, principal="test", at=number)
    back = RollbackRequest(last_good=True)
    found = jobs.job(**travis(9)).roll_back("m", "shop", back)
    assert (found["changed"], title(found), found["release"]["restores"]) == (True, "shop#5", 3)
    for restarted in ({"restart_count": "1"}, {"job_id": "7", "job_number": "9.2"}):
        again = jobs.job(**travis(9, **restarted)).roll_back("m", "shop", back)
        assert (again["changed"], title(again)) == (False, "shop#5")
    further = jobs.job(**travis(9)).roll_back("m", "shop", RollbackRequest(to=1))
    assert further["release"]["restores"] == 1


def test_what_is_only_claimed_fences_nothing_and_the_answer_says_so(jobs: Jobs) -> None:
    """A job is warned; a person has no build to be warned about."""
    user = jobs.user("alice")
    told = applied(user, build=Build(ci="travis", repository="acme/shop", build_number="12"))
    assert told["fenced"] is False
    assert "claimed and not verified" in told["warnings"][0]
    again = applied(user, *SHIFTED, build=Build(ci="travis", repository="acme/shop", build_number="11"))
    assert again["changed"] is True
    assert applied(user, *SHOP)["warnings"] == []
    assert applied(jobs.job(**travis(13)), *SHIFTED)["warnings"] == []


def test_an_environment_may_take_verified_builds_only(tmp_path: Path) -> None:
    """Rollbacks stay open to people, since what they restore came from a verified build."""
    with building(tmp_path, TRUST.replace("{mesh: m}", "{mesh: m, verified_builds: true}")) as jobs:
        applied(jobs.job(**travis(1)))
        applied(jobs.job(**travis(2)), *SHIFTED)
        for who in (
            jobs.user(),
            jobs.user("alice"),
            jobs.job(aud="plain"),
            jobs.job(**travis(3, build_number="", build_id="x")),
        ):
            with pytest.raises(RefusedError, match="'test' takes releases of verified builds only"):
                applied(who, node("c"))
        assert jobs.user("alice").roll_back("m", "shop", RollbackRequest(to=1))["changed"] is True


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE builds SET body = replace(body, '\"12\"', '\"2\"')",
        "UPDATE builds SET series = 'x'",
        "DELETE FROM builds",
        "INSERT INTO builds SELECT 99, mesh, stack, series, number, body FROM builds LIMIT 1",
    ],
)
def test_whoever_moves_the_fence_in_the_database_is_found_out(jobs: Jobs, statement: str) -> None:
    """It is recorded in the audit log as a release is."""
    applied(jobs.job(**travis(12)))
    with closing(sqlite3.connect(_path(jobs), isolation_level=None)) as database:
        for verb in ("UPDATE", "DELETE"):
            database.execute(f"DROP TRIGGER builds_keep_{verb}")
        database.execute(statement)
    assert [one.message for one in jobs.plane.server.store.verify().faults]


def _path(jobs: Jobs) -> Path:
    return jobs.folder / "meshwright.db"
