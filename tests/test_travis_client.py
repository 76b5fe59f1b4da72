"""Travis CI's API is read to its end and within a time, whatever it answers, and its token is told to nobody else."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from fake_travis import BROKEN, DENIED, DRIP, HANG, LIMITED, THROTTLED, TOKEN, FakeTravis, Fault, fake_travis
from meshwright.ci.travis.access import Access, find_access
from meshwright.ci.travis.client import Limits, Travis, TravisRefusedError, TravisUnavailableError
from meshwright.ci.travis.records import Build, Builds, Failure, Job, KeyPair, Log, Request, Triggered
from meshwright.errors import UnreadableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDED = Path(__file__).parents[2] / "shared" / "travis" / "api_examples"
QUICK = Limits(patience=20.0, silence=10.0, pause=0.01, longest_pause=0.05)


@pytest.fixture(params=["", "/api"], ids=["travis-ci.com", "enterprise"])
def api(request: pytest.FixtureRequest) -> Iterator[FakeTravis]:
    """An API at the root of its host, and one below a path."""
    with fake_travis(request.param) as found:
        yield found


def asking(api: FakeTravis, limits: Limits = QUICK, token: str = TOKEN) -> Travis:
    """A client of it."""
    return Travis(Access(endpoint=api.url, token=token, source="TRAVIS_TOKEN"), limits)


def test_a_job_and_its_build_are_read_with_what_they_say(api: FakeTravis) -> None:
    """What an identity is made of: state, stage, commit, repository, branch, event."""
    api.add_job(71, branch="main", event="push", stage="Deploy")
    with asking(api) as travis:
        job, build = travis.job(71), travis.build(70)
    assert (job.state, job.stage and job.stage.name, job.build and job.build.key) == ("started", "Deploy", 70)
    assert (build.event_type, build.branch and build.branch.name, build.number) == ("push", "main", "7")
    assert job.repository == build.repository
    assert job.repository is not None
    assert job.repository.slug == "acme/orders"


def test_a_log_is_what_has_arrived(api: FakeTravis) -> None:
    """A log that has not come yet is empty and no failure."""
    api.add_job(71)
    api.print(71, "hello\n")
    with asking(api) as travis:
        assert "hello\r\n" in travis.log(71)
        api.delay_log = lambda _job, _text: ""
        assert travis.log(71) == ""


@pytest.mark.parametrize("counted", [True, False])
def test_a_list_is_followed_to_its_end(api: FakeTravis, *, counted: bool) -> None:
    """By `next` alone, counts or not, and with the path of an enterprise's API in every address."""
    api.counted = counted
    for number in range(10, 610, 10):
        api.add_job(number + 1)
    api.add_job(901, branch="other")
    with asking(api) as travis:
        found = [one.id for one in travis.builds("acme/orders", branch_name="main", event_type="push,api")]
    assert found == list(range(600, 0, -10))
    assert [path.partition("?")[0] for _, path in api.asked] == [f"{api.prefix}/repo/acme%2Forders/builds"] * 3


def test_an_empty_page_ends_a_list(api: FakeTravis) -> None:
    """Even if it names a next one."""
    page = {"next": {"@href": f"{api.prefix}/repo/acme%2Forders/builds?offset=25"}}
    api.faults.append((200, {"@type": "builds", "@pagination": page, "builds": []}, {}))
    with asking(api) as travis:
        assert list(travis.builds("acme/orders")) == []
    assert len(api.asked) == 1


def test_a_list_that_leads_in_a_circle_or_elsewhere_is_left(api: FakeTravis) -> None:
    """No address is asked twice, and the token goes to no other host."""
    api.add_job(71)
    circle = f"{api.prefix}/repo/acme%2Forders/builds?limit=25"
    body = {"@type": "builds", "@pagination": {"next": {"@href": circle}}, "builds": [api.builds[70]]}
    api.faults.append((200, body, {}))
    with asking(api) as travis:
        assert [one.id for one in travis.builds("acme/orders")] == [70]
        body["@pagination"] = {"next": {"@href": "https://elsewhere.example/builds"}}
        api.faults.append((200, body, {}))
        with pytest.raises(TravisUnavailableError, match=r"elsewhere\.example.*gets no token"):
            list(travis.builds("acme/orders"))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (DENIED, r"refuses job 71: HTTP 403, 'access denied'\. The token is from TRAVIS_TOKEN; it is not valid"),
        (
            (403, {"@type": "error", "error_type": "insufficient_access", "error_message": "forbidden"}, {}),
            r"HTTP 403, insufficient_access: forbidden\. .*lacks the permission",
        ),
        (
            (404, {"@type": "error", "error_type": "not_found", "error_message": "job not found"}, {}),
            r"HTTP 404, not_found: job not found\. It is not there, or the token may not see it",
        ),
        ((302, b"", {"location": "https://elsewhere.example"}), r"Redirects are not followed"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(api: FakeTravis, fault: Fault, told: str) -> None:
    """In plain text or in JSON, and it is not asked again."""
    api.faults.append(fault)
    with asking(api) as travis, pytest.raises(TravisRefusedError, match=told) as raised:
        travis.job(71)
    assert raised.value.status == fault[0]
    assert len(api.asked) == 1
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("fault", [THROTTLED, LIMITED, BROKEN, (503, b"<html>busy</html>", {})])
def test_trouble_that_passes_is_waited_for(api: FakeTravis, fault: Fault) -> None:
    """What only reads is asked again after a pause."""
    api.add_job(71)
    api.faults.extend([fault, fault])
    with asking(api) as travis:
        assert travis.job(71).id == 71
    assert len(api.asked) == 3


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (THROTTLED, r"does not tell job 71, asked 4 times: HTTP 429, 'Retry later'"),
        (LIMITED, r"HTTP 429, request_limit_reached: .* \(10 in 3600 s are allowed\)"),
        (BROKEN, r"HTTP 500, server_error: Sorry, we crashed"),
        ((429, b"", {"retry-after": "3600"}), r"does not tell job 71: HTTP 429 without a word"),
    ],
)
def test_trouble_that_stays_is_told(api: FakeTravis, fault: Fault, told: str) -> None:
    """After a bounded number of questions; a server that asks for an hour is not waited for."""
    api.faults.extend([fault] * 10)
    with asking(api) as travis, pytest.raises(TravisUnavailableError, match=told):
        travis.job(71)
    assert len(api.asked) == (1 if fault[2].get("retry-after") else 4)


@pytest.mark.parametrize(
    ("fault", "limits", "told"),
    [
        (HANG, Limits(patience=20.0, silence=0.2, attempts=2, pause=0.01), r"asked 2 times: no byte for 0\.2 s"),
        (DRIP, Limits(patience=0.5, silence=20.0), r"no whole answer within 0\.5 s"),
    ],
)
def test_a_connection_that_hangs_or_drips_ends(api: FakeTravis, fault: Fault, limits: Limits, told: str) -> None:
    """Long before the other side does anything."""
    api.faults.extend([fault, fault])
    began = time.monotonic()
    with asking(api, limits) as travis, pytest.raises(TravisUnavailableError, match=told):
        travis.job(71)
    assert time.monotonic() - began < 30


def test_something_else_than_the_api_is_told_as_such(api: FakeTravis) -> None:
    """A page of HTML, or a list where a job should be, is no job."""
    for body in (b"<html>hello</html>", b"[]", b'{"id": "x"}'):
        api.faults.append((200, body, {}))
        with asking(api) as travis, pytest.raises(TravisUnavailableError, match="not job 71 in the form of its API"):
            travis.job(71)


def test_a_build_is_asked_for_once_whatever_happens(api: FakeTravis) -> None:
    """Twice would be two builds: no failure is followed by another try."""
    with asking(api) as travis:
        triggered = travis.request_build("acme/orders", {"branch": "main", "merge_mode": "deep_merge_append"})
        assert travis.request("acme/orders", triggered.request.id).state == "pending"
        assert api.bodies == [{"request": {"branch": "main", "merge_mode": "deep_merge_append"}}]
        for fault, told in ((BROKEN, "failed at a build of acme/orders"), (THROTTLED, "'Retry later'")):
            before = len(api.asked)
            api.faults.append(fault)
            with pytest.raises((TravisUnavailableError, TravisRefusedError), match=told):
                travis.request_build("acme/orders", {"branch": "main"})
            assert len(api.asked) == before + 1
    with asking(api, Limits(silence=0.2)) as travis:
        before = len(api.asked)
        api.faults.append(HANG)
        with pytest.raises(TravisUnavailableError, match="may have been done"):
            travis.request_build("acme/orders", {"branch": "main"})
        assert len(api.asked) == before + 1


def test_the_key_of_a_repository_is_read(api: FakeTravis) -> None:
    """What values are encrypted with."""
    api.keys["acme/orders"] = "-----BEGIN PUBLIC KEY-----\n…\n-----END PUBLIC KEY-----\n"
    with asking(api) as travis:
        assert travis.key_pair("acme/orders").public_key == api.keys["acme/orders"]


def test_the_token_stands_in_no_text_of_ours() -> None:
    """Neither where it is kept, nor in what is said of it."""
    access = Access(endpoint="https://api.travis-ci.com", token=TOKEN, source="TRAVIS_TOKEN")
    assert TOKEN not in repr(access)
    with pytest.raises(UsageError) as raised:
        find_access({"TRAVIS_TOKEN": f"{TOKEN} {TOKEN}", "TRAVIS_ENDPOINT": "https://api.travis-ci.com"})
    assert TOKEN not in str(raised.value)


def test_the_environment_says_more_than_the_travis_commands_file(tmp_path: Path) -> None:
    """The file is looked up by endpoint, with or without a slash, and in the folder that is named."""
    (tmp_path / ".travis").mkdir()
    file = tmp_path / ".travis" / "config.yml"
    file.write_text(
        "---\nlast_check:\n  etag: '\"x\"'\nendpoints:\n  https://api.travis-ci.com/:\n    access_token: kept\n"
        "  https://ci.acme.example/api/:\n    access_token: own\n"
    )
    home = {"HOME": str(tmp_path)}
    found = find_access(home)
    assert (found.endpoint, found.token, found.source) == ("https://api.travis-ci.com", "kept", str(file))
    assert find_access(home, "https://ci.acme.example/api").token == "own"
    assert find_access({**home, "TRAVIS_ENDPOINT": "https://ci.acme.example/api/"}).token == "own"
    assert find_access({**home, "TRAVIS_ENDPOINT": "https://other.example"}).token == ""
    assert find_access({**home, "TRAVIS_TOKEN": "set"}).token == "set"
    assert find_access({"HOME": "/nowhere", "TRAVIS_CONFIG_PATH": str(file.parent)}).token == "kept"
    file.write_text("default_endpoint: https://ci.acme.example/api/\nendpoints: {}\n")
    assert find_access(home).endpoint == "https://ci.acme.example/api"
    file.write_text("endpoints: {kept: [\n")
    with pytest.raises(UnreadableError, match=r"config\.yml is no YAML"):
        find_access(home)


@pytest.mark.parametrize("endpoint", ["http://api.travis-ci.com", "ftp://x", "https://user:pw@api.example", "x"])
def test_an_endpoint_that_would_give_the_token_away_is_refused(endpoint: str) -> None:
    """Unencrypted, or no address at all."""
    with pytest.raises(UsageError) as raised:
        find_access({"TRAVIS_TOKEN": TOKEN, "TRAVIS_ENDPOINT": endpoint})
    assert "pw" not in str(raised.value)


_SHAPES: tuple[tuple[str, type[Any]], ...] = (
    ("job.", Job),
    ("builds_list.", Builds),
    ("build.errored", Build),
    ("log.200", Log),
    ("request.find", Request),
    ("request.create.202", Triggered),
    ("key_pair_generated", KeyPair),
    ("error.", Failure),
    ("request.429", Failure),
)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers of Travis CI are not on this machine")
def test_recorded_answers_are_read() -> None:
    """Those of years ago, of an enterprise and of today."""
    read = 0
    for file in sorted(RECORDED.glob("*.json")):
        for start, wanted in _SHAPES:
            if file.name.startswith(start):
                found = msgspec.json.decode(file.read_bytes(), type=wanted)
                kept = json.loads(file.read_text())
                assert getattr(found, "id", kept.get("id")) == kept.get("id"), file.name
                read += 1
    assert read >= 15
