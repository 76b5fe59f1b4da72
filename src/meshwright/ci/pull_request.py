"""Whether this job builds a pull request, by its environment: nobody has reviewed then what it would do with secrets.

The one rule: in doubt it does. Nothing else is imported, because commands that read definitions ask it as they start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVENTS = ("TRAVIS_EVENT_TYPE", "GITHUB_EVENT_NAME", "CI_PIPELINE_SOURCE")


def pull_request(environ: Mapping[str, str]) -> str:
    """The pull request that the job of `environ` builds, in words; "" when it builds none.

    GitHub's `pull_request_target` counts too: it runs with the repository's secrets, for anybody's change.

    Sources: https://docs.travis-ci.com/user/environment-variables/,
    https://docs.github.com/actions/reference/workflows-and-actions/events-that-trigger-workflows,
    https://docs.gitlab.com/ci/jobs/job_rules/
    """
    number = environ.get("TRAVIS_PULL_REQUEST", "").strip()
    if number not in {"", "false"}:
        return f"pull request {number[:20]}"
    number = environ.get("CI_MERGE_REQUEST_IID", "").strip()
    if number:
        return f"merge request {number[:20]}"
    kind, _, rest = environ.get("GITHUB_REF", "").strip().removeprefix("refs/").partition("/")
    if kind == "pull":
        return f"pull request {rest.partition('/')[0][:20]}"
    events = {environ.get(name, "").strip() for name in _EVENTS}
    return "a pull request" if any(one.startswith(("pull_request", "merge_request")) for one in events) else ""
