"""How a job of Travis CI proves which job it is, by what only this job can print to its own log; pure.

The one rule: what a job says of itself decides nothing. A claim is what the API's record of the job says, and it is
the job's own only where its log holds the answer to a challenge that nobody could know before, alone and in time.

The server keeps no challenge: it is signed, and holds for one job, one commitment and a few minutes. The job commits
itself to a secret, prints what follows from challenge and commitment, and then tells the secret to the server alone:
whoever reads the log meanwhile learns nothing that could be redeemed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.ci.travis.records import PULL_REQUEST, STARTED
from meshwright.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.ci.travis.records import Build, Job

MARK = "meshwright-proof"
"""What the line in the log begins with; nothing else there may hold it."""
WINDOW = 180_000
"""Milliseconds from a challenge within which its answer has to be in the log and redeemed."""
SKEW = 60_000
"""Milliseconds that Travis CI's clock may differ from ours."""
SECRET_BYTES = 32

_CHALLENGE = re.compile(r"1\.([0-9]{1,15})\.([0-9a-f]{32})\.([0-9a-f]{64})")
_LINE_ENDS = ("\n", "\r", "\x1b[0K")
"""What may stand before the answer: the end of a line, or of a mark by which Travis CI folds its log."""
_EVENTS = frozenset({"push", PULL_REQUEST, "api", "cron"})
_LONGEST = 255
"""Characters of a subject."""


class ProofError(RefusedError):
    """A job is not the one that it says: `code` names why, for logs and the audit."""

    def __init__(self, code: str, told: str) -> None:
        super().__init__(told)
        self.code = code


class Challenge(msgspec.Struct, frozen=True):
    """A challenge that this server made."""

    text: str
    job: int
    commitment: str
    at: int
    """When it was made, in milliseconds since the epoch, UTC."""

    @property
    def ends(self) -> int:
        """Until when its answer counts."""
        return self.at + WINDOW

    @property
    def line(self) -> str:
        """What the job has to print, as a line of its own."""
        return line(self.job, self.text, self.commitment)


def commitment(secret: bytes) -> str:
    """What a job says of its secret before it tells it."""
    return hashlib.sha256(b"meshwright travis commitment 1\0" + secret).hexdigest()


def challenge(key: bytes, job: int, committed: str, nonce: bytes, at: int) -> Challenge:
    """A challenge for `job`, signed by `key`; `nonce` is 16 bytes that nobody can guess."""
    head = f"1.{at}.{nonce.hex()}"
    return Challenge(f"{head}.{_mark(key, head, job, committed)}", job, committed, at)


def read_challenge(key: bytes, text: str, job: int, secret: bytes, now: int) -> Challenge:
    """The challenge that `text` is, if it was made for this job and this secret, and is in time.

    Raises:
        ProofError: it is not, or not any more.
    """
    found = _CHALLENGE.fullmatch(text)
    committed = commitment(secret)
    if found is None:
        raise ProofError("ForgedChallenge", "The challenge is not of the form that this server gives.")
    head = text.rpartition(".")[0]
    if not hmac.compare_digest(found[3], _mark(key, head, job, committed)):
        raise ProofError(
            "ForgedChallenge",
            f"The challenge was not given to job {job} for this secret by this server: ask for one and redeem the "
            "secret that was committed to with it.",
        )
    made = Challenge(text, job, committed, int(found[1]))
    if not made.at - SKEW <= now < made.ends:
        raise ProofError(
            "ChallengeExpired", f"The challenge for job {job} counted for {WINDOW // 1000} s, and they are over."
        )
    return made


def line(job: int, challenge_text: str, committed: str) -> str:
    """What the job prints: it proves the job and is worth nothing without the secret.

    Groups of four, since a long row of hexadecimal is what scanners of logs take for a secret and cover.
    """
    said = f"meshwright travis response 1\0{job}\0{challenge_text}\0{committed}"
    digest = hashlib.sha256(said.encode()).hexdigest()[:32]
    return f"{MARK} {job} {'-'.join(digest[at : at + 4] for at in range(0, 32, 4))}"


def found_in(log: str, wanted: Challenge) -> bool:
    """Whether the answer stands in the log, whole and on a line of its own; False while it has not arrived.

    Raises:
        ProofError: something else in the log looks like an answer, so that nobody knows whose it is.
    """
    # A log has millions of characters, and this is asked while others wait: nothing here is a regular expression.
    count, at = log.count(MARK), log.find(wanted.line)
    end = at + len(wanted.line)
    own = at >= 0 and _begins_line(log, at) and log[end : end + 1] in {"\r", "\n"}
    last = log[max((log.rfind(one) + len(one) for one in _LINE_ENDS if one in log), default=0) :]
    arriving = MARK in last and wanted.line.startswith(last)
    if count > 1 or (count == 1 and not own and not arriving):
        raise ProofError(
            "ProofNotAlone",
            f"The log of job {wanted.job} holds {MARK!r} {count} time{'s' if count > 1 else ''}; only the answer to "
            "this challenge, alone, proves the job. See what else prints such a line, a commit message or a test "
            "perhaps, and start a new build.",
        )
    return own


def _begins_line(log: str, at: int) -> bool:
    return at == 0 or any(log.endswith(one, 0, at) for one in _LINE_ENDS)


def refuse_job(job: Job, build: Build, made: Challenge, repositories: Iterable[str], *, restarted: bool) -> None:
    """Return where a job and its build are such that the job may prove itself.

    Args:
        job: as the API says that it is now.
        build: the job's.
        made: the challenge.
        repositories: patterns of those that are vouched for, such as `acme/*`.
        restarted: whether jobs that were started again are vouched for.

    Raises:
        ProofError: they are not.
    """
    slug = job.repository.slug if job.repository else ""
    if not any(fnmatchcase(slug.lower(), one.lower()) for one in repositories):
        raise ProofError("UnknownRepository", f"Job {made.job} is of {slug or '?'}, not one of ours.")
    if job.id != made.job or job.build is None or job.build.key != build.id or job.repository != build.repository:
        raise ProofError("Contradiction", f"What Travis CI says of job {made.job} and of its build does not agree.")
    if job.state != STARTED or job.finished_at is not None:
        raise ProofError(
            "JobNotRunning", f"Job {made.job} is {job.state or 'not there'}; only a running one logs in."
        )
    began = moment(job.started_at)
    if began is None or began > made.at + SKEW:
        raise ProofError("JobRestarted", f"Job {made.job} was started after its challenge: it is another run of it.")
    if job.restarted_at is not None and not restarted:
        raise ProofError(
            "JobRestarted",
            f"Job {made.job} was restarted at {job.restarted_at}: it would release old code with today's settings. "
            "Trigger a new build; or let the control plane vouch for restarted jobs with --travis-restarted.",
        )


def run_of(endpoint: str, job: Job) -> str:
    """What names one run of a job, which logs in once: a restarted job keeps its id."""
    return f"{endpoint} job {job.id} started {job.started_at}"


def claims_of(job: Job, build: Build) -> dict[str, Any]:
    """What is known of a job that has proved itself, and its subject.

    `branch` is a claim of what runs on a branch alone; a pull request has `base_branch`, so that no condition on
    a branch lets one in.

    Raises:
        ProofError: the records do not say what it is.
    """
    slug = job.repository.slug if job.repository else ""
    commit = job.commit or build.commit
    about, place, event = _what_runs(job.id, build, (commit.ref if commit else None) or "")
    if not re.fullmatch(r"[^\s/:]+/[^\s/:]+", slug):
        raise ProofError("Contradiction", f"Travis CI does not say of which repository job {job.id} is.")
    subject = f"repo:{slug}:{place}:event:{event}"
    if len(subject) > _LONGEST:
        raise ProofError(
            "Contradiction", f"The subject of job {job.id} has {len(subject)} characters; {_LONGEST} fit."
        )
    found = {
        "sub": subject,
        "repository": slug,
        "repository_id": str(job.repository.id if job.repository else ""),
        **about,
        "event": event,
        "commit": commit.sha if commit else "",
        "stage": job.stage.name if job.stage else "",
        "build_id": str(build.id),
        "build_number": build.number,
        "job_id": str(job.id),
        "job_number": job.number,
        "job_started_at": job.started_at or "",
        "restart_count": "0" if job.restarted_at is None else "1",
    }
    return {name: text for name, text in found.items() if text}


def _what_runs(job: int, build: Build, ref: str) -> tuple[dict[str, str], str, str]:
    """The claims that say what is built, their part of the subject, and the event; `ref` is the commit's."""
    branch = build.branch.name if build.branch else ""
    tag = build.tag.name if build.tag else ref.removeprefix("refs/tags/") if ref.startswith("refs/tags/") else ""
    pull = str(build.pull_request_number or "") or (ref.split("/")[2] if ref.startswith("refs/pull/") else "")
    if build.event_type not in _EVENTS or ":" in branch + tag + pull:
        raise ProofError("Contradiction", f"Travis CI does not say which build of what job {job} is a part of.")
    if pull or build.event_type == PULL_REQUEST:
        pull = pull or "unknown"
        return {"pull_request": pull, "base_branch": branch}, f"pull_request:{pull}", PULL_REQUEST
    if tag:
        return {"tag": tag}, f"tag:{tag}", build.event_type
    if branch:
        return {"branch": branch}, f"branch:{branch}", build.event_type
    raise ProofError("Contradiction", f"Travis CI does not say of which branch or tag job {job} is.")


def still_runs(job: Job, claims: dict[str, Any]) -> bool:
    """Whether the run that a token with these claims was given to has not ended."""
    return job.state == STARTED and job.finished_at is None and (job.started_at or "") == claims.get("job_started_at")


def repository_secret(key: bytes, repository: str) -> str:
    """The second factor of a repository, which its encrypted variable holds."""
    said = f"meshwright travis second factor 1\0{repository.lower()}"
    return hmac.digest(key, said.encode(), "sha256").hex()


def factor(secret: str, challenge_text: str) -> str:
    """What proves that a job has the secret of its repository, for one challenge."""
    return hmac.digest(secret.encode(), f"meshwright travis factor 1\0{challenge_text}".encode(), "sha256").hex()


def has_factor(key: bytes, repository: str, made: Challenge, given: str) -> bool:
    """Whether a job has the second factor; False where it gave none.

    Raises:
        ProofError: it gave a wrong one.
    """
    if not given:
        return False
    wanted = factor(repository_secret(key, repository), made.text)
    if not hmac.compare_digest(wanted.encode(), given.encode()):
        raise ProofError(
            "WrongFactor",
            f"The second factor of job {made.job} is not that of {repository}: print it anew with 'meshwright travis "
            "secret' on the control plane's machine, and encrypt it for this repository.",
        )
    return True


def moment(text: str | None) -> int | None:
    """A time of the API, in milliseconds since the epoch; None for none."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000) if text else None
    except ValueError:
        return None


def _mark(key: bytes, head: str, job: int, committed: str) -> str:
    return hmac.digest(key, f"meshwright travis challenge 1\0{head}\0{job}\0{committed}".encode(), "sha256").hex()
