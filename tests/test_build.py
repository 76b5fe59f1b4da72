"""What a job claims about itself is read from its environment, pitfalls included."""

from __future__ import annotations

from meshwright.ci.build import claimed
from meshwright.release import Build

TRAVIS = {
    "TRAVIS": "true",
    "CI": "true",
    "TRAVIS_REPO_SLUG": "acme/shop",
    "TRAVIS_BRANCH": "main",
    "TRAVIS_TAG": "",
    "TRAVIS_COMMIT": "1111",
    "TRAVIS_EVENT_TYPE": "push",
    "TRAVIS_PULL_REQUEST": "false",
    "TRAVIS_PULL_REQUEST_SHA": "",
    "TRAVIS_BUILD_ID": "900",
    "TRAVIS_BUILD_NUMBER": "42",
    "TRAVIS_JOB_ID": "901",
    "TRAVIS_JOB_NUMBER": "42.1",
    "TRAVIS_BUILD_WEB_URL": "https://app.travis-ci.com/acme/shop/builds/900",
}


def test_a_travis_push_is_read_whole() -> None:
    """Every member that Travis exports under its name."""
    assert claimed(TRAVIS) == Build(
        ci="travis",
        repository="acme/shop",
        branch="main",
        commit="1111",
        event="push",
        build_id="900",
        build_number="42",
        job_id="901",
        job_number="42.1",
        url="https://app.travis-ci.com/acme/shop/builds/900",
    )


def test_the_string_false_is_no_pull_request() -> None:
    """Travis exports `false` where there is none."""
    found = claimed(TRAVIS)
    assert found is not None
    assert found.pull_request == ""


def test_a_branch_called_false_is_a_branch() -> None:
    """Only where Travis says so does the string mean nothing; as a marker it means no."""
    found = claimed({**TRAVIS, "TRAVIS_BRANCH": "false"})
    assert found is not None
    assert found.branch == "false"
    assert claimed({**TRAVIS, "TRAVIS": "false"}) is None


def test_values_that_anybody_may_have_chosen_are_kept_in_bounds() -> None:
    """Not UTF-8, or of any length: the release is made all the same."""
    found = claimed({**TRAVIS, "TRAVIS_BRANCH": "a\udcffb", "TRAVIS_TAG": "", "TRAVIS_COMMIT": "1" * 100_000})
    assert found is not None
    assert found.branch == "a?b"
    assert len(found.commit) == 1024


def test_a_travis_pull_request_is_known_by_its_head_not_by_the_made_up_merge() -> None:
    """TRAVIS_COMMIT of a pull request is a commit that nobody pushed."""
    found = claimed(
        {**TRAVIS, "TRAVIS_EVENT_TYPE": "pull_request", "TRAVIS_PULL_REQUEST": "7", "TRAVIS_PULL_REQUEST_SHA": "2222"}
    )
    assert found is not None
    assert (found.pull_request, found.commit, found.event) == ("7", "2222", "pull_request")


def test_a_travis_tag_build_has_a_tag_and_no_branch() -> None:
    """TRAVIS_BRANCH repeats the tag's name then."""
    found = claimed({**TRAVIS, "TRAVIS_TAG": "v1", "TRAVIS_BRANCH": "v1"})
    assert found is not None
    assert (found.tag, found.branch) == ("v1", "")


def test_travis_comes_first_and_an_empty_marker_is_none() -> None:
    """A Travis image may export other services' names, empty or `false`."""
    assert claimed({**TRAVIS, "GITLAB_CI": "true"}) == claimed(TRAVIS)
    assert claimed({"TRAVIS": "", "GITHUB_ACTIONS": "false", "GITLAB_CI": ""}) is None
    assert claimed({}) is None


def test_a_github_pull_request_is_read() -> None:
    """The branch is the one that the pull request goes to."""
    assert claimed(
        {
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "acme/shop",
            "GITHUB_REF": "refs/pull/12/merge",
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_REF_NAME": "12/merge",
            "GITHUB_BASE_REF": "main",
            "GITHUB_SHA": "3333",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_RUN_ID": "5",
            "GITHUB_RUN_NUMBER": "6",
            "GITHUB_JOB": "deploy",
            "GITHUB_SERVER_URL": "https://github.com",
        }
    ) == Build(
        ci="github",
        repository="acme/shop",
        branch="main",
        commit="3333",
        event="pull_request",
        pull_request="12",
        build_id="5",
        build_number="6",
        job_id="deploy",
        url="https://github.com/acme/shop/actions/runs/5",
    )


def test_a_gitlab_pipeline_is_read() -> None:
    """With the number that counts within the project."""
    assert claimed(
        {
            "GITLAB_CI": "true",
            "CI_PROJECT_PATH": "acme/shop",
            "CI_COMMIT_BRANCH": "main",
            "CI_COMMIT_SHA": "4444",
            "CI_PIPELINE_SOURCE": "push",
            "CI_PIPELINE_ID": "8",
            "CI_PIPELINE_IID": "9",
            "CI_JOB_ID": "10",
            "CI_PIPELINE_URL": "https://gitlab.com/acme/shop/-/pipelines/8",
        }
    ) == Build(
        ci="gitlab",
        repository="acme/shop",
        branch="main",
        commit="4444",
        event="push",
        build_id="8",
        build_number="9",
        job_id="10",
        url="https://gitlab.com/acme/shop/-/pipelines/8",
    )
