"""Which build this job says that it is, from its environment: claimed, verified by nobody.

The one rule: an unset value and an empty one are the same, because Travis CI exports every variable, the ones without
a value as "". Values are anybody's: cut to a length, and what is not UTF-8 replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.release import Build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_LONGEST = 1024
"""Characters of one value that are kept; no reference, commit or address is as long."""


def claimed(environ: Mapping[str, str]) -> Build | None:
    """The build metadata of the CI service that `environ` speaks of; None on a laptop.

    Sources: https://docs.travis-ci.com/user/environment-variables/,
    https://docs.github.com/actions/reference/workflows-and-actions/variables,
    https://docs.gitlab.com/ci/variables/predefined_variables/
    """

    def value(name: str) -> str:
        text = environ.get(name, "").strip()
        return text.encode("utf-8", "replace").decode()[:_LONGEST]

    for marker, reader in (("TRAVIS", _travis), ("GITHUB_ACTIONS", _github), ("GITLAB_CI", _gitlab)):
        if value(marker) not in {"", "false"}:
            return reader(value)
    return None


def _travis(value: Callable[[str], str]) -> Build:
    tag, pull_request = value("TRAVIS_TAG"), value("TRAVIS_PULL_REQUEST")
    return Build(
        ci="travis",
        repository=value("TRAVIS_REPO_SLUG"),
        # On a tag's build TRAVIS_BRANCH holds the tag's name; no branch is known then.
        branch="" if tag else value("TRAVIS_BRANCH"),
        tag=tag,
        # On a pull request TRAVIS_COMMIT is the merge that Travis made up; what people pushed is the head.
        commit=value("TRAVIS_PULL_REQUEST_SHA") or value("TRAVIS_COMMIT"),
        event=value("TRAVIS_EVENT_TYPE"),
        pull_request="" if pull_request == "false" else pull_request,
        # Who pushed is not told; who restarted it set this run off.
        author=value("TRAVIS_JOB_RESTARTED_BY"),
        build_id=value("TRAVIS_BUILD_ID"),
        build_number=value("TRAVIS_BUILD_NUMBER"),
        job_id=value("TRAVIS_JOB_ID"),
        job_number=value("TRAVIS_JOB_NUMBER"),
        # Documented as true or false, exported as the moment: not how often, only that it was.
        restart_count="1" if value("TRAVIS_JOB_RESTARTED") not in {"", "false"} else "",
        url=value("TRAVIS_BUILD_WEB_URL"),
    )


def _github(value: Callable[[str], str]) -> Build:
    kind, name = value("GITHUB_REF_TYPE"), value("GITHUB_REF_NAME")
    repository, run, attempt = value("GITHUB_REPOSITORY"), value("GITHUB_RUN_ID"), value("GITHUB_RUN_ATTEMPT")
    # A pull request's ref is refs/pull/NUMBER/merge; the branch that it goes to has a variable of its own.
    pull_request = value("GITHUB_REF").removeprefix("refs/pull/").partition("/")[0] if _is_pull(value) else ""
    return Build(
        ci="github",
        repository=repository,
        branch=value("GITHUB_BASE_REF") or (name if kind == "branch" else ""),
        tag=name if kind == "tag" else "",
        commit=value("GITHUB_SHA"),
        event=value("GITHUB_EVENT_NAME"),
        pull_request=pull_request,
        author=value("GITHUB_ACTOR"),
        pipeline=value("GITHUB_WORKFLOW_REF").partition("@")[0],
        build_id=run,
        build_number=value("GITHUB_RUN_NUMBER"),
        job_id=value("GITHUB_JOB"),
        restart_count=str(int(attempt) - 1) if attempt.isascii() and attempt.isdecimal() and int(attempt) else "",
        url=f"{value('GITHUB_SERVER_URL')}/{repository}/actions/runs/{run}" if repository and run else "",
    )


def _is_pull(value: Callable[[str], str]) -> bool:
    return value("GITHUB_REF").startswith("refs/pull/")


def _gitlab(value: Callable[[str], str]) -> Build:
    return Build(
        ci="gitlab",
        repository=value("CI_PROJECT_PATH"),
        branch=value("CI_MERGE_REQUEST_TARGET_BRANCH_NAME") or value("CI_COMMIT_BRANCH"),
        tag=value("CI_COMMIT_TAG"),
        commit=value("CI_COMMIT_SHA"),
        event=value("CI_PIPELINE_SOURCE"),
        pull_request=value("CI_MERGE_REQUEST_IID"),
        author=value("GITLAB_USER_LOGIN"),
        build_id=value("CI_PIPELINE_ID"),
        build_number=value("CI_PIPELINE_IID"),
        job_id=value("CI_JOB_ID"),
        url=value("CI_PIPELINE_URL"),
    )
