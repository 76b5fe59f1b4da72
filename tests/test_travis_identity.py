"""A job of Travis CI gets an identity by proving which job it is, and nobody gets another one's."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from fake_travis import BROKEN, DENIED, HANG, THROTTLED, TOKEN, Fault, moment
from meshwright.api.proving import DISCOVERY, KEYS
from meshwright.ci.travis import proof
from meshwright.ci.travis.client import TravisUnavailableError
from meshwright.trust.key_sets import read_key_set
from meshwright.trust.settings import Issuer
from meshwright.trust.tokens import read_token, verify_token
from travis_jobs import ISSUER, TRUST, Plane, TravisJob, given, plane

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wire_client import Answer


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Plane]:
    """A control plane that vouches for jobs of acme."""
    with plane(tmp_path) as found:
        yield found


def refusal(ours: Plane, answer: Answer, code: str, told: str = "") -> None:
    """It was refused for this reason, gave nothing away, and stands in the audit log."""
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, code), answer.body
    assert told in json.loads(answer.body)["message"]
    assert b"token" not in answer.body or b'"token":' not in answer.body
    (leaf, *_) = ours.refused()
    assert (leaf.outcome, leaf.error, leaf.cause) == ("refused", code, "post_travis_token")
    assert leaf.by is not None
    assert leaf.by.source == "127.0.0.1"


def code_of(answer: Answer) -> tuple[int, str]:
    """Status and error of an STS answer."""
    return answer.status, answer.body.decode().partition("<Code>")[2].partition("</Code>")[0]


def test_a_job_gets_a_token_that_says_what_travis_says(ours: Plane) -> None:
    """Signed by the published keys, for minutes, with the claims of the API's record."""
    token = ours.job(71, branch="main", stage="Deploy", build_number="7").token()
    published = ours.server.ask("GET", KEYS, key=None)
    keys = read_key_set(published.body).keys
    issuer = Issuer(url=ISSUER, audiences=("meshwright",))
    claims = verify_token(read_token(token), keys, issuer, ours.clock())
    assert claims["sub"] == "repo:acme/orders:branch:main:event:push"
    wanted = {
        "repository": "acme/orders",
        "branch": "main",
        "event": "push",
        "commit": f"{71:040x}",
        "stage": "Deploy",
        "build_id": "70",
        "build_number": "7",
        "job_id": "71",
        "job_number": "7.1",
        "restart_count": "0",
        "second_factor": "false",
    }
    assert wanted.items() <= claims.items()
    assert claims["exp"] - claims["iat"] == 600
    (leaf,) = given(ours.server)
    assert leaf.principal == claims["sub"]
    assert leaf.by is not None
    assert leaf.by.verified["build_number"] == "7"
    assert ours.server.store.verify().faults == ()


def test_what_verifiers_need_is_found_by_discovery(ours: Plane) -> None:
    """Anybody may read it, and may keep it for a while."""
    document = ours.server.ask("GET", DISCOVERY, key=None)
    found = json.loads(document.body)
    assert (found["issuer"], found["jwks_uri"]) == (ISSUER, ISSUER + KEYS)
    assert document.headers["cache-control"] == "public, max-age=900"
    assert b'"d"' not in ours.server.ask("GET", KEYS, key=None).body


def test_our_sts_takes_the_token_and_releases_have_verified_builds(ours: Plane) -> None:
    """A session of the role that the claims are for, of this build."""
    answer = ours.assume(ours.job(71, build_number="7").token())
    assert answer.status == 200, answer.body
    (session,) = ours.server.store.sessions()
    assert session.principal.build["build_number"] == "7"
    assert session.principal.build["ci"] == "travis"


def test_a_pull_request_of_a_fork_does_not_get_mains_role(ours: Plane) -> None:
    """It proves what it is, and that is a pull request, whatever branch it wants to go to."""
    token = ours.job(71, branch="main", event="pull_request", pull_request_number=54).token()
    assert code_of(ours.assume(token)) == (403, "AccessDenied")
    assert code_of(ours.assume(token, "plain")) == (403, "AccessDenied")
    (leaf, *_) = ours.refused()
    assert (leaf.principal, leaf.error) == ("repo:acme/orders:pull_request:54:event:pull_request", "AccessDenied")
    assert leaf.target == "arn:aws:iam::000000000000:role/main"
    (identity,) = given(ours.server)
    assert identity.claims["base_branch"] == "main"
    assert "branch" not in identity.claims


@pytest.mark.parametrize("previews", [False, True])
def test_a_pull_request_changes_nothing_whatever_its_role_may_do(tmp_path: Path, *, previews: bool) -> None:
    """The server refuses it on verified claims; an environment for previews lets it."""
    text = TRUST.replace(
        "version: 1\n", f"version: 1\nenvironments: {{test: {{pull_requests: {str(previews).lower()}}}}}\n"
    )
    with plane(tmp_path, trust=text) as ours:
        token = ours.job(71, event="pull_request", pull_request_number=54).token()
        assert ours.assume(token, "proposer").status == 200
        (session,) = ours.server.store.sessions()
        mesh = ours.server.client(
            aws_access_key_id=session.key_id,
            aws_secret_access_key=session.secret,
            aws_session_token=session.token,
        )
        assert mesh.list_meshes()["meshes"] == []
        if previews:
            mesh.create_mesh(meshName="shop")
            return
        told = "verified that it builds pull request 54"
        with pytest.raises(mesh.exceptions.ClientError, match=told):
            mesh.create_mesh(meshName="shop")
        with pytest.raises(mesh.exceptions.ClientError, match=told):
            mesh.create_virtual_node(meshName="shop", virtualNodeName="a", spec={})
        assert {one.error for one in ours.refused()} == {"AccessDeniedException"}


def test_a_pull_request_is_one_by_any_sign_of_it(ours: Plane) -> None:
    """Of its event, its number and its reference, each alone is enough."""
    commit = {"sha": "a" * 40, "ref": "refs/pull/9/merge"}
    ours.job(71, commit=commit).token()
    ours.job(81, event="pull_request").token()
    subjects = [one.principal for one in given(ours.server)]
    assert subjects == [
        "repo:acme/orders:pull_request:9:event:pull_request",
        "repo:acme/orders:pull_request:unknown:event:pull_request",
    ]


def test_a_forged_job_id_gets_nothing(ours: Plane) -> None:
    """The main job runs, but its log holds nothing that a stranger could have made it print."""
    ours.travis.add_job(71)
    stranger = TravisJob(ours, 71)
    stranger.ask()
    refusal(ours, stranger.redeem(), "ProofMissing", "does not hold the answer")


def test_a_job_that_is_not_there_gets_nothing(ours: Plane) -> None:
    """No such id."""
    nobody = TravisJob(ours, 999)
    nobody.ask()
    refusal(ours, nobody.redeem(), "UnknownJob")


def test_another_jobs_log_proves_nothing(ours: Plane) -> None:
    """An answer for job 71 in the log of job 81."""
    ours.travis.add_job(71)
    stranger, own = TravisJob(ours, 71), ours.job(81, event="pull_request", pull_request_number=3)
    stranger.ask()
    ours.travis.print(own.number, f"\n{stranger.line}\n")
    refusal(ours, stranger.redeem(), "ProofMissing")


def test_a_challenge_is_worth_nothing_for_another_job(ours: Plane) -> None:
    """Nor for another secret: the commitment is a part of it."""
    ours.travis.add_job(71)
    own = ours.job(81)
    own.ask()
    own.say()
    own.number = 71
    refusal(ours, own.redeem(), "ForgedChallenge")
    own.number = 81
    assert own.redeem(secret="00" * 32).headers["x-amzn-errortype"] == "ForgedChallenge"
    assert own.redeem(challenge=own.challenge[:-1] + "0g"[own.challenge.endswith("0")]).status == 403
    assert own.redeem().status == 200


@pytest.mark.parametrize("before", [True, False], ids=["before the answer", "after it"])
def test_a_line_that_a_commit_message_prints_proves_nothing(ours: Plane, *, before: bool) -> None:
    """The answer has to be alone: whose of two it is, nobody could tell. A stranger gets nothing by it either."""
    job = ours.job(71)
    stranger = TravisJob(ours, 71)
    stranger.ask()
    job.ask()
    texts = [f"HEAD is now at 1234567 {proof.MARK} 71 0000\n", f"\n{job.line}\n"]
    for text in texts if before else reversed(texts):
        ours.travis.print(71, text)
    refusal(ours, job.redeem(), "ProofNotAlone", "'meshwright-proof' 2 times;")
    assert stranger.redeem().headers["x-amzn-errortype"] == "ProofNotAlone"


def test_an_answer_within_a_line_is_none(ours: Plane) -> None:
    """A test that prints what it was sent prints it after its own words."""
    stranger = ours.job(71)
    stranger.ask()
    ours.travis.print(71, f"GET /?q={stranger.line}\n")
    refusal(ours, stranger.redeem(), "ProofNotAlone", "1 time;")


def test_a_replayed_challenge_gets_nothing(ours: Plane) -> None:
    """One run of a job, one token: neither the same again nor a new challenge gets another."""
    job = ours.job(71)
    job.token()
    refusal(ours, job.redeem(), "AlreadyUsed")
    ours.travis.logs[71] = ""
    again = TravisJob(ours, 71)
    again.ask()
    again.say()
    assert again.redeem().headers["x-amzn-errortype"] == "AlreadyUsed"
    assert len(given(ours.server)) == 1


def test_of_two_that_redeem_at_once_one_wins(ours: Plane) -> None:
    """Whatever the order in which they are served, there is one identity and one refusal."""
    job = ours.job(71)
    job.ask()
    job.say()
    together = threading.Barrier(4)

    def redeem(_: int) -> int:
        together.wait()
        return job.redeem().status

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(redeem, range(4))) == [200, 403, 403, 403]
    assert len(given(ours.server)) == 1
    assert {one.error for one in ours.refused()} == {"AlreadyUsed"}


def test_a_challenge_that_is_too_old_gets_nothing(ours: Plane) -> None:
    """The window is short."""
    job = ours.job(71)
    job.ask()
    job.say()
    ours.clock.ahead = proof.WINDOW + 1
    refusal(ours, job.redeem(), "ChallengeExpired", "180 s")


@pytest.mark.parametrize("state", ["passed", "failed", "errored", "canceled", "created", "queued"])
def test_a_job_that_does_not_run_gets_nothing(ours: Plane, state: str) -> None:
    """Whatever its log holds."""
    job = ours.job(71)
    job.ask()
    job.say()
    ours.travis.finish(71, state)
    refusal(ours, job.redeem(), "JobNotRunning", state)


def test_a_job_that_ends_while_it_proves_itself_gets_nothing(ours: Plane) -> None:
    """It is looked at again after its log was read."""
    job = ours.job(71)
    job.ask()
    job.say()

    def ended(number: int, text: str) -> str:
        ours.travis.finish(number)
        return text

    ours.travis.delay_log = ended
    refusal(ours, job.redeem(), "JobNotRunning")


def test_a_job_that_was_started_anew_after_its_challenge_gets_nothing(ours: Plane) -> None:
    """A challenge is for one run."""
    job = ours.job(71)
    job.ask()
    job.say()
    ours.travis.jobs[71]["started_at"] = moment(-120)
    refusal(ours, job.redeem(), "JobRestarted", "another run")


def test_a_restarted_job_gets_one_only_where_the_operator_says_so(ours: Plane, tmp_path: Path) -> None:
    """Then its claims tell that it was."""
    job = ours.job(71, restarted_at=moment(90))
    job.ask()
    job.say()
    refusal(ours, job.redeem(), "JobRestarted", "Trigger a new build")
    (tmp_path / "other").mkdir()
    with plane(tmp_path / "other", restarted=True) as lenient:
        lenient.job(71).token()
        lenient.travis.jobs[71] |= {"started_at": moment(30), "restarted_at": moment(40)}
        lenient.travis.logs[71] = ""
        TravisJob(lenient, 71).token()
        assert [one.claims["restart_count"] for one in given(lenient.server)] == ["0", "1"]


def test_jobs_of_others_repositories_get_nothing(ours: Plane) -> None:
    """Whoever owns them."""
    job = ours.job(71, slug="evil/orders")
    job.ask()
    job.say()
    refusal(ours, job.redeem(), "UnknownRepository", "evil/orders")


def test_a_build_that_is_not_the_jobs_is_believed_nothing(ours: Plane) -> None:
    """The two records have to agree."""
    job = ours.job(71)
    job.ask()
    job.say()
    ours.travis.builds[70]["repository"] = {"id": 1, "slug": "acme/other"}
    refusal(ours, job.redeem(), "Contradiction")


def test_the_second_factor_is_a_claim_that_a_role_may_ask_for(ours: Plane) -> None:
    """With it the role is given, without it not, and a wrong one gets nothing at all."""
    assert code_of(ours.assume(ours.job(71).token(), "guarded")) == (403, "AccessDenied")
    secret = proof.repository_secret(ours.issuer.key, "Acme/Orders")
    job = ours.job(81)
    job.ask()
    job.say()
    assert job.redeem(factor="0" * 64).headers["x-amzn-errortype"] == "WrongFactor"
    other = proof.repository_secret(ours.issuer.key, "acme/other")
    assert job.redeem(factor=proof.factor(other, job.challenge)).headers["x-amzn-errortype"] == "WrongFactor"
    answer = job.redeem(factor=proof.factor(secret, job.challenge))
    assert answer.status == 200
    assert ours.assume(json.loads(answer.body)["token"], "guarded").status == 200


def test_a_token_is_worth_nothing_once_its_job_has_ended(ours: Plane) -> None:
    """Neither when it ends, nor when it runs anew."""
    token = ours.job(71).token()
    assert ours.assume(token).status == 200
    ours.travis.finish(71)
    assert code_of(ours.assume(token)) == (403, "IDPRejectedClaim")
    (leaf, *_) = ours.refused()
    assert (leaf.principal, leaf.error) == ("repo:acme/orders:branch:main:event:push", "IDPRejectedClaim")
    ours.travis.jobs[71] |= {"state": "started", "finished_at": None, "started_at": moment(1)}
    assert code_of(ours.assume(token)) == (403, "IDPRejectedClaim")


def test_sessions_end_with_their_job(ours: Plane) -> None:
    """Also those that an earlier process began; those of jobs that run stay."""
    for number in (71, 81):
        assert ours.assume(ours.job(number).token()).status == 200
    sessions = {one.principal.claims["job_id"]: one for one in ours.server.store.sessions()}
    ours.travis.finish(71)
    ours.issuer.live.clear()

    asyncio.run(ours.issuer.look(ours.server.store, ours.clock))
    assert ours.server.store.revoked(sessions["71"])
    assert not ours.server.store.revoked(sessions["81"])
    (revocation,) = ours.server.store.revocations()
    assert (revocation.subject, revocation.principal) == (f"session:{sessions['71'].key_id}", "job 71")


@pytest.mark.parametrize("unreadable", [71, 81])
def test_a_job_that_cannot_be_seen_keeps_no_other_session_alive(ours: Plane, unreadable: int) -> None:
    """The other one ends; of this one nobody can tell, which is said, and it is looked at again."""
    for number in (71, 81):
        assert ours.assume(ours.job(number).token()).status == 200
        ours.travis.finish(number)
    ours.travis.unreadable.add(unreadable)

    def ended() -> set[str]:
        sessions = ours.server.store.sessions()
        return {one.principal.claims["job_id"] for one in sessions if ours.server.store.revoked(one)}

    with pytest.raises(TravisUnavailableError, match=f"job {unreadable}"):
        asyncio.run(ours.issuer.look(ours.server.store, ours.clock))
    assert ended() == {"71", "81"} - {str(unreadable)}
    ours.travis.unreadable.clear()
    asyncio.run(ours.issuer.look(ours.server.store, ours.clock))
    assert ended() == {"71", "81"}


def test_a_token_is_renewed_while_its_job_runs(ours: Plane) -> None:
    """With the same claims for ten minutes more; not when the job has ended, nor a token that is none of ours."""
    token = ours.job(71).token()
    ours.clock.ahead = 500_000
    renewed = ours.post("/meshwright/v1/travis/renewals", {"token": token})
    assert renewed.status == 200
    longer = json.loads(renewed.body)["token"]
    before, after = read_token(token).claims(), read_token(longer).claims()
    assert after["exp"] - before["exp"] in range(499, 600)
    fleeting = {"iat", "nbf", "exp", "jti"}
    assert {name: before[name] for name in before.keys() - fleeting} == {
        name: after[name] for name in after.keys() - fleeting
    }
    ours.clock.ahead = 700_000
    assert code_of(ours.assume(token)) == (400, "ExpiredTokenException")
    assert ours.assume(longer).status == 200
    assert ours.post("/meshwright/v1/travis/renewals", {"token": token}).status == 403
    forged = longer[:-8] + ("AAAAAAAA" if not longer.endswith("AAAAAAAA") else "BBBBBBBB")
    assert ours.post("/meshwright/v1/travis/renewals", {"token": forged}).status == 403
    ours.travis.finish(71)
    ended = ours.post("/meshwright/v1/travis/renewals", {"token": longer})
    assert (ended.status, ended.headers["x-amzn-errortype"]) == (403, "IDPRejectedClaim")
    assert len(given(ours.server)) == 1


def test_a_log_that_arrives_late_is_waited_for(tmp_path: Path) -> None:
    """Nothing at first, then half of the line, then all of it."""
    with plane(tmp_path, wait_seconds=120.0) as ours:
        job, looks = ours.job(71), list[str]()
        job.ask()
        job.say()

        def late(_number: int, text: str) -> str:
            looks.append(text)
            return (text[:0], text[:-40], text)[min(len(looks), 3) - 1]

        ours.travis.delay_log = late
        assert job.redeem().status == 200
        assert len(looks) == 3


@pytest.mark.parametrize("fault", [DENIED, BROKEN, THROTTLED, HANG])
def test_trouble_at_travis_is_no_proof_and_no_refusal(tmp_path: Path, fault: Fault) -> None:
    """The job is told to come again; why, stands in the server's log alone."""
    with plane(tmp_path, silence=0.2) as ours:
        job = ours.job(71)
        job.ask()
        job.say()
        ours.travis.faults.extend([fault] * 4)
        answer = job.redeem()
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailableException")
        assert ours.travis.host.encode() not in answer.body
        ours.travis.faults.clear()
        assert job.redeem().status == 200


def test_a_token_is_not_taken_while_nobody_can_say_whether_its_job_runs(tmp_path: Path) -> None:
    """Travis CI is down: no session."""
    with plane(tmp_path, silence=0.2) as ours:
        token = ours.job(71).token()
        ours.travis.faults.extend([BROKEN] * 4)
        assert code_of(ours.assume(token)) == (400, "IDPCommunicationError")


def test_an_enterprise_is_asked_below_its_path(tmp_path: Path) -> None:
    """Addresses in its answers have the path in them."""
    with plane(tmp_path, "/api") as ours:
        ours.job(71).token()
        assert all(path.startswith("/api/") for _, path in ours.travis.asked)


def test_who_asks_too_often_is_turned_away_before_travis_is_asked(ours: Plane) -> None:
    """And what is no question is told as such."""
    job = ours.job(71)
    job.ask()
    statuses = set[int]()
    for _ in range(2000):
        statuses.add(ours.post("/meshwright/v1/travis/tokens", {"job_id": 71}).status)
        if 429 in statuses:
            break
    assert statuses == {400, 429}
    assert ours.travis.asked == []
    assert job.redeem().status == 429


def test_nobody_but_the_server_sees_its_token(ours: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in an answer, in the log, nor in the audit log."""
    ours.job(71).token()
    ours.travis.faults.extend([DENIED] * 2)
    job = ours.job(81)
    job.ask()
    answer = job.redeem()
    said: list[Any] = [answer.body.decode(), caplog.text, repr(ours.issuer)]
    said += [one.text for one in ours.server.store.leaves(0, 1000)]
    assert not any(TOKEN in str(one) or ours.issuer.key.hex() in str(one) for one in said)
    assert "refuses job 81: HTTP 403, 'access denied'" in caplog.text


def test_without_an_issuer_there_are_no_identities(tmp_path: Path) -> None:
    """And no keys to be found."""
    from serving import serving  # noqa: PLC0415

    with serving(tmp_path) as server:
        body = json.dumps({"job_id": 1, "commitment": "0" * 64}).encode()
        answer = server.ask("POST", "/meshwright/v1/travis/challenges", body, key=None)
        assert answer.status == 404
        assert b"--issuer" in answer.body
        assert server.ask("GET", DISCOVERY, key=None).status == 404
