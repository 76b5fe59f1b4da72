"""What proves a job holds for one job, one secret and one moment, wherever a log is cut while it arrives."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.ci.travis import proof
from meshwright.ci.travis.proof import ProofError
from meshwright.ci.travis.records import Build, Builds, Job
from settings import SHARED

KEY, SECRET, NONCE = bytes(range(32)), b"s" * 32, bytes(16)
NOW = 1_800_000_000_000
RECORDED = SHARED / "travis" / "api_examples"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60).filter(lambda text: proof.MARK not in text)
NAMES = st.text(st.sampled_from("abzA0./-_@"), min_size=1, max_size=20)


def made(job: int = 71, at: int = NOW) -> proof.Challenge:
    """A challenge."""
    return proof.challenge(KEY, job, proof.commitment(SECRET), NONCE, at)


@given(before=TEXTS, after=TEXTS, end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_line_counts_once_it_is_whole_wherever_the_log_is_cut(before: str, after: str, end: str) -> None:
    """Until then the log is one that is waited for, and never one that is refused."""
    wanted = made()
    start = f"{before}\n{wanted.line}"
    for length in range(len(before), len(start) + 1):
        assert not proof.found_in(start[:length], wanted)
    assert proof.found_in(f"{start}{end}", wanted)
    assert proof.found_in(f"{start}{end}{after}", wanted)
    assert proof.found_in(f"{before}travis_fold:end:x\r\x1b[0K{wanted.line}{end}", wanted)


@given(before=TEXTS, after=TEXTS, other=st.integers(1, 1 << 52).filter(lambda job: job != 71))
def test_no_other_line_is_taken_for_it(before: str, after: str, other: int) -> None:
    """Neither another job's, nor one with something before or after it, nor one of two."""
    wanted = made()
    for text in (
        made(other).line,
        f"x{wanted.line}",
        f"{wanted.line} x",
        f"{wanted.line}\n{wanted.line}",
        f"{wanted.line}\n{proof.MARK}",
        f"{proof.MARK} 71",
    ):
        with pytest.raises(ProofError) as raised:
            proof.found_in(f"{before}\n{text}\n{after}", wanted)
        assert raised.value.code == "ProofNotAlone"


@given(st.integers(0, 200), st.sampled_from("0123456789abcdef."))
def test_a_challenge_that_was_changed_anywhere_is_forged(place: int, letter: str) -> None:
    """Its time and its nonce as well as its signature."""
    text = made().text
    place %= len(text)
    changed = text[:place] + letter + text[place + 1 :]
    if changed == text:
        assert proof.read_challenge(KEY, text, 71, SECRET, NOW) == made()
        return
    with pytest.raises(ProofError) as raised:
        proof.read_challenge(KEY, changed, 71, SECRET, NOW)
    assert raised.value.code == "ForgedChallenge"


@pytest.mark.parametrize(
    ("key", "job", "secret", "at", "code"),
    [
        (bytes(32), 71, SECRET, NOW, "ForgedChallenge"),
        (KEY, 72, SECRET, NOW, "ForgedChallenge"),
        (KEY, 71, b"t" * 32, NOW, "ForgedChallenge"),
        (KEY, 71, SECRET, NOW + proof.WINDOW, "ChallengeExpired"),
        (KEY, 71, SECRET, NOW - proof.SKEW - 1, "ChallengeExpired"),
    ],
)
def test_a_challenge_is_for_one_server_job_secret_and_moment(
    key: bytes, job: int, secret: bytes, at: int, code: str
) -> None:
    """Anything else is refused."""
    with pytest.raises(ProofError) as raised:
        proof.read_challenge(key, made().text, job, secret, at)
    assert raised.value.code == code


def test_what_is_printed_tells_nothing_of_the_secret_and_looks_like_none() -> None:
    """Scanners of logs cover long rows of hexadecimal, and a covered line proves nothing."""
    wanted = made()
    assert max(map(len, wanted.line.replace("-", " ").split())) <= 10
    assert SECRET.hex() not in wanted.line
    assert proof.commitment(SECRET)[:16] not in wanted.line


def records(place: dict[str, Any], event: str, **job: Any) -> tuple[Job, Build]:
    """A job and its build."""
    repository = {"id": 891, "slug": "acme/orders"}
    build = {"id": 70, "number": "7", "event_type": event, "repository": repository, **place}
    own = {"id": 71, "number": "7.1", "state": "started", "build": {"id": 70}, "repository": repository, **job}
    return msgspec.convert(own, Job), msgspec.convert(build, Build)


@given(
    st.lists(
        st.tuples(st.sampled_from(["branch", "tag", "pull"]), NAMES, st.sampled_from(["push", "api", "cron"])),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_builds_of_different_things_have_different_subjects(builds: list[tuple[str, str, str]]) -> None:
    """No name of a branch reads like a tag or a pull request."""
    subjects = set()
    for kind, name, event in builds:
        place: dict[str, Any] = {"branch": {"name": name}}
        if kind == "tag":
            place |= {"tag": {"name": name}}
        if kind == "pull":
            # Its base branch and its event are no part of who it is.
            place |= {"pull_request_number": sum(map(ord, name + event))}
        subjects.add(proof.claims_of(*records(place, event))["sub"])
    pulls = [one for one in builds if one[0] == "pull"]
    if len(pulls) < 2:
        assert len(subjects) == len(builds)
    assert {":pull_request:" in one and one.endswith("event:pull_request") for one in subjects} == {
        kind == "pull" for kind, _, _ in builds
    }


@pytest.mark.parametrize(
    ("place", "event", "told"),
    [
        ({}, "push", "of which branch or tag"),
        ({"branch": {"name": "main"}}, "deploy", "which build"),
        ({"branch": {"name": "a:event:push"}}, "push", "which build"),
        ({"branch": {"name": "x" * 250}}, "push", "characters; 255 fit"),
    ],
)
def test_a_build_that_is_of_nothing_known_has_no_subject(place: dict[str, Any], event: str, told: str) -> None:
    """A name with a colon is none of Git's, and would be a subject of another thing."""
    with pytest.raises(ProofError, match=told):
        proof.claims_of(*records(place, event))


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers of Travis CI are not on this machine")
def test_recorded_builds_have_subjects() -> None:
    """Pushes, builds by the API and pull requests, of today, of years ago and of an enterprise."""
    found = set()
    for file in sorted(RECORDED.glob("builds_list.*.json")):
        for build in msgspec.json.decode(file.read_bytes(), type=Builds).builds:
            job = msgspec.convert(
                {"id": 1, "build": {"id": build.id}, "repository": msgspec.to_builtins(build.repository)}, Job
            )
            claims = proof.claims_of(job, build)
            assert ("branch" in claims) != (build.event_type == "pull_request")
            found.add(claims["event"])
    assert {"push", "api", "pull_request"} <= found
    job = msgspec.json.decode((RECORDED / "job.2025_fields.derived.json").read_bytes(), type=Job)
    kept = json.loads((RECORDED / "job.2025_fields.derived.json").read_text())
    assert (job.stage and job.stage.name) == kept["stage"]["name"]
    assert proof.moment(job.started_at) == 1_762_948_800_000
    build = msgspec.convert({"id": 1001, "event_type": "push", "repository": kept["repository"]}, Build)
    with pytest.raises(ProofError, match="is passed; only a running one"):
        proof.refuse_job(job, build, made(2002), ("acme/*",), restarted=False)
