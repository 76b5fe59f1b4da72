"""Travis CI's API v3 on a real socket, in the shapes that were recorded of it, with faults on demand.

A fake, because the other side cannot be had. What it answers has the members, the types and the oddities of recorded
answers: plain text for a bad token, `next` with or without counts, addresses with an enterprise's path in them.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Body = dict[str, Any] | bytes
Fault = tuple[int, Body, dict[str, str]]
"""A status, a body and headers."""
TOKEN = "t0ken-of-the-server"

DENIED: Fault = (403, b"access denied", {"content-type": "text/plain"})
THROTTLED: Fault = (429, b"Retry later\n", {"content-type": "text/plain"})
LIMITED: Fault = (
    429,
    {
        "@type": "error",
        "error_type": "request_limit_reached",
        "error_message": "request limit reached for resource",
        "max_requests": 10,
        "per_seconds": 3600,
    },
    {},
)
BROKEN: Fault = (500, {"@type": "error", "error_type": "server_error", "error_message": "Sorry, we crashed."}, {})
HANG: Fault = (0, b"", {})
"""Take the request, and say nothing."""
DRIP: Fault = (-1, b"", {})
"""Answer with one byte now and then, for ever."""


def moment(seconds_ago: float = 0.0) -> str:
    """A time as the API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))


class FakeTravis:
    """An API whose jobs, builds, logs, requests and keys a test sets; every request is kept in `asked`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.url = ""
        self.host = ""
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.faults: deque[Fault] = deque()
        """What the next requests are answered with, instead."""
        self.counted = True
        """Whether pages tell counts."""
        self.delay_log: Callable[[int, str], str] = lambda _job, text: text
        """What of a log has arrived."""
        self.jobs: dict[int, dict[str, Any]] = {}
        self.builds: dict[int, dict[str, Any]] = {}
        self.logs: dict[int, str] = {}
        self.requests: dict[int, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}
        self.unreadable: set[int] = set()
        """Jobs that the token may not see."""
        self.stopping = threading.Event()

    def add_job(
        self,
        number: int,
        *,
        slug: str = "acme/orders",
        branch: str = "main",
        event: str = "push",
        stage: str | None = "Deploy",
        **more: Any,
    ) -> int:
        """A job that has started a minute ago, alone in a build of its own; its id."""
        build = number - 1
        repository = {"@type": "repository", "@href": f"{self.prefix}/repo/891", "id": 891, "slug": slug}
        pull = more.pop("pull_request_number", None)
        ref = f"refs/pull/{pull}/merge" if pull else f"refs/heads/{branch}"
        commit = {"@type": "commit", "id": 5, "sha": f"{number:040x}", "ref": ref, "message": "m"}
        build_number = more.pop("build_number", str(number // 10))
        self.builds[build] = {
            "@type": "build",
            "@href": f"{self.prefix}/build/{build}",
            "id": build,
            "number": build_number,
            "state": "started",
            "event_type": event,
            "pull_request_number": pull,
            "pull_request_title": None,
            "branch": {"@type": "branch", "name": branch},
            "tag": more.pop("tag", None),
            "repository": repository,
            "commit": commit,
            "created_by": {"@type": "user", "login": "ann"},
            "jobs": [{"@type": "job", "id": number, "@href": f"{self.prefix}/job/{number}"}],
            "stages": [],
        }
        self.jobs[number] = {
            "@type": "job",
            "@href": f"{self.prefix}/job/{number}",
            "id": number,
            "number": f"{build_number}.1",
            "state": "started",
            "started_at": moment(60),
            "finished_at": None,
            "restarted_at": None,
            "build": {"@href": f"{self.prefix}/build/{build}", "@representation": "minimal", "id": build},
            "stage": None if stage is None else {"@type": "stage", "id": 1, "number": 1, "name": stage},
            "repository": repository,
            "commit": commit,
            **more,
        }
        self.logs.setdefault(number, "travis_fold:start:system_info\r\x1b[0KBuild system information\r\n")
        return number

    def finish(self, number: int, state: str = "passed") -> None:
        """A job ends."""
        self.jobs[number] |= {"state": state, "finished_at": moment()}

    def print(self, number: int, text: str) -> None:
        """A job prints, through the terminal that its log is taken from."""
        self.logs[number] = self.logs.get(number, "") + text.replace("\n", "\r\n")

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Fault:
        """What the API says."""
        if not path.startswith(self.prefix):
            return 404, b"<html>not found</html>", {}
        path = path.removeprefix(self.prefix)
        if method == "POST":
            return self._posted(path, body)
        if found := re.fullmatch(r"/(job|build)/([0-9]+)", path):
            if int(found[2]) in self.unreadable:
                return DENIED
            return _present(self.jobs if found[1] == "job" else self.builds, int(found[2]), found[1])
        if found := re.fullmatch(r"/job/([0-9]+)/log", path):
            return self._log(int(found[1]))
        if found := re.fullmatch(r"/repo/([^/]+)/builds", path):
            return self._listed(path, unquote(found[1]), query)
        if found := re.fullmatch(r"/repo/[^/]+/request/([0-9]+)", path):
            return _present(self.requests, int(found[1]), "request")
        if found := re.fullmatch(r"/repo/([^/]+)/key_pair/generated", path):
            key = self.keys.get(unquote(found[1]))
            if key is not None:
                return 200, {"@type": "key_pair", "public_key": key, "fingerprint": "57:78"}, {}
        return _missing("resource")

    def _log(self, job: int) -> Fault:
        if job not in self.jobs:
            return _missing("job")
        text = self.delay_log(job, self.logs.get(job, ""))
        part = {"content": text, "final": False, "number": 0}
        return 200, {"@type": "log", "id": job, "content": text, "log_parts": [part] if text else []}, {}

    def _listed(self, path: str, slug: str, query: dict[str, str]) -> Fault:
        limit, offset = int(query.get("limit", "25")), int(query.get("offset", "0"))
        kept = [
            one
            for one in sorted(self.builds.values(), key=lambda one: -one["id"])
            if one["repository"]["slug"] == slug
            and one["branch"]["name"] in query.get("branch.name", one["branch"]["name"]).split(",")
            and one["state"] in query.get("state", one["state"]).split(",")
            and one["event_type"] in query.get("event_type", one["event_type"]).split(",")
        ]
        more = {name: text for name, text in query.items() if name not in {"limit", "offset"}}
        onward = "&".join([f"limit={limit}", f"offset={offset + limit}", *(f"{k}={v}" for k, v in more.items())])
        last = offset + limit >= len(kept)
        page: dict[str, Any] = {
            "limit": limit,
            "offset": offset,
            "next": None if last else {"@href": f"{self.prefix}{path.replace('%2f', '%2F')}?{onward}"},
        }
        page |= {"count": len(kept), "is_first": offset == 0, "is_last": last} if self.counted else {}
        return 200, {"@type": "builds", "@pagination": page, "builds": kept[offset : offset + limit]}, {}

    def _posted(self, path: str, body: bytes) -> Fault:
        asked = json.loads(body)
        self.bodies.append(asked)
        if re.fullmatch(r"/repo/[^/]+/requests", path):
            number = 205729 + len(self.requests)
            request = {"@type": "request", "id": number, "state": "pending", "result": None, "builds": []}
            self.requests[number] = request
            return 202, {"@type": "pending", "remaining_requests": 9, "request": request}, {}
        return _missing("resource")


def _present(records: dict[int, dict[str, Any]], number: int, what: str) -> Fault:
    return (200, records[number], {}) if number in records else _missing(what)


def _missing(what: str) -> Fault:
    told = f"{what} not found (or insufficient access)"
    return 404, {"@type": "error", "error_type": "not_found", "error_message": told, "resource_type": what}, {}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: FakeTravis) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.api = api


class _Answers(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        api, parts = self.server.api, urlsplit(self.path)
        api.asked.append((method, self.path))
        if api.faults:
            status, answer, headers = api.faults.popleft()
        elif self.headers.get("authorization") != f"token {TOKEN}":
            status, answer, headers = DENIED
        else:
            query = {name: texts[0] for name, texts in parse_qs(parts.query).items()}
            status, answer, headers = api.answer(method, parts.path, query, body)
        if status <= 0:
            self._stall(drip=status < 0)
            return
        sent = json.dumps(answer).encode() if isinstance(answer, dict) else answer
        self.send_response(status)
        for name, text in {"content-type": "application/json", **headers}.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def _stall(self, *, drip: bool) -> None:
        self.close_connection = True
        stopping = self.server.api.stopping
        if not drip:
            stopping.wait(60)
            return
        self.send_response(200)
        self.send_header("content-length", "1000000")
        self.end_headers()
        with contextlib.suppress(OSError):
            while not stopping.wait(0.05):
                self.wfile.write(b" ")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def fake_travis(prefix: str = "") -> Iterator[FakeTravis]:
    """The API on 127.0.0.1 until the block ends; an enterprise's has the prefix `/api`."""
    found = FakeTravis(prefix)
    server = _Server(found)
    found.host = f"http://127.0.0.1:{server.server_port}"
    found.url = found.host + prefix
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        found.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
