"""What one client, or all together, may take of the server: each limit cuts off or refuses, and the rest goes on."""

from __future__ import annotations

import contextlib
import http.client
import json
import sqlite3
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from meshwright.api.limits import Held, Limits, Rate
from meshwright.errors import TooManyRequestsException
from meshwright.store.contract import AccessKey
from processes import DEADLINE
from raw_http import Raw, head, signed
from serving import KEY, Answer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Serving

MESHES = "/v20190125/meshes"
SMALL = Limits(
    connections=8,
    requests=2,
    head_bytes=4096,
    head_count=20,
    target_bytes=1024,
    pipelined=3,
    head_seconds=0.3,
    body_seconds=0.5,
    unsigned_seconds=0.3,
    idle_seconds=0.6,
    write_seconds=0.5,
    bodies_bytes=200_000,
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Serving]:
    """A server with limits that a test reaches at once."""
    with serving(tmp_path, limits=SMALL) as running:
        yield running


def counted(server: Serving, limit: str) -> float:
    """How often the server says that `limit` was run into."""
    text = server.ask("GET", "/metrics", key=None).body.decode()
    name = f'meshwright_turned_away_total{{limit="{limit}"}} '
    return next((float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)), 0.0)


def alive(server: Serving) -> None:
    """Another client is served as ever."""
    assert server.ask("GET", "/healthz", key=None).status == 200
    assert server.ask("GET", MESHES).status == 200


@pytest.mark.parametrize("said", [b"", b"GET /healthz HT", b"\r\n\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(small: Serving, said: bytes) -> None:
    """A thousand silent connections would keep everybody else out."""
    with Raw(small.url) as raw:
        raw.send(said)
        assert raw.ended()
    assert counted(small, "head_seconds") == 1
    alive(small)


def test_a_head_that_drips_is_cut_off(small: Serving) -> None:
    """A byte now and then does not prolong the time."""
    with Raw(small.url, timeout=0.05) as raw:
        until = time.monotonic() + 5
        ended = False
        while not ended and time.monotonic() < until:
            raw.send(b"G" if until - time.monotonic() > 4.9 else b"E")
            with contextlib.suppress(TimeoutError):
                ended = raw.answer().status in {0, 400}
        assert ended
    alive(small)


def test_an_idle_connection_ends_and_a_busy_one_does_not(small: Serving) -> None:
    """Blank lines are no request."""
    with Raw(small.url) as raw:
        for _ in range(3):
            raw.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert raw.answer().status == 200
        raw.send(b"\r\n")
        assert raw.ended()


@pytest.mark.parametrize(
    ("lines", "status", "limit"),
    [
        (b"x-long: " + b"x" * 8192 + b"\r\n", 431, "head_bytes"),
        (b"".join(b"x-%d: 1\r\n" % number for number in range(40)), 431, "head_count"),
        (b"endless: " + b"x" * 400_000, 431, "head_bytes"),
    ],
)
def test_a_head_that_is_too_large_is_refused(small: Serving, lines: bytes, status: int, limit: str) -> None:
    """In total, in number, and without end."""
    with Raw(small.url) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + lines + b"\r\n")
        answer = raw.answer()
        assert (answer.status, answer.code) == (status, "BadRequestException")
        assert raw.ended()
    assert counted(small, limit) == 1
    alive(small)


def test_a_target_that_is_too_long_is_refused(small: Serving) -> None:
    """With the status that says so."""
    with Raw(small.url) as raw:
        raw.send(b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert raw.answer().status == 414
    assert counted(small, "target_bytes") == 1


def test_a_body_that_does_not_come_is_not_waited_for(small: Serving) -> None:
    """From a known key; nobody else's body is waited for at all. The connection stays usable for no one."""
    with Raw(small.url) as raw:
        request = signed(raw.host, "PUT", MESHES, b'{"meshName":"late"}')
        raw.send(request[:-5])
        assert raw.answer().status == 408
        assert raw.ended()
    assert small.store.head().revision == 0
    alive(small)


def test_a_body_that_is_too_large_is_refused_before_it_comes(small: Serving) -> None:
    """By its declared length; and a chunked one as soon as it is too long."""
    with Raw(small.url) as raw:
        request = signed(raw.host, "PUT", MESHES, b"x")
        raw.send(request.replace(b"content-length: 1\r\n", b"content-length: 2000000\r\n"))
        answer = raw.answer()
        assert (answer.status, answer.code) == (413, "RequestEntityTooLargeException")
    with Raw(small.url) as raw:
        request = signed(raw.host, "PUT", MESHES, b"x").removesuffix(b"\r\n\r\nx")
        raw.send(request.replace(b"content-length: 1", b"transfer-encoding: chunked") + b"\r\n\r\n")
        for _ in range(20):
            raw.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        assert raw.answer().status in {413, 429}
    alive(small)


def test_all_bodies_together_are_bounded(tmp_path: Path) -> None:
    """One client's half-sent body leaves no room for a second one; when it is gone, there is."""
    body = b'{"meshName":"m"}' + b" " * 150_000
    with serving(tmp_path, limits=Limits(bodies_bytes=200_000)) as server:
        with Raw(server.url) as first, Raw(server.url) as second:
            first.send(signed(first.host, "PUT", MESHES, body)[:-1])
            until = time.monotonic() + DEADLINE
            status = 200
            while status != 429 and time.monotonic() < until:
                second.send(signed(second.host, "PUT", MESHES, body))
                status = second.answer().status
                if status == 0:
                    break
            assert status == 429
        assert server.ask("PUT", MESHES, b'{"meshName":"n"}').status == 200


def test_more_requests_than_places_are_told_to_come_again(small: Serving) -> None:
    """Health and metrics still answer, and so does everything once a place is free."""
    with Raw(small.url) as one, Raw(small.url) as other:
        with locked(small):
            one.send(signed(one.host, "PUT", MESHES, b'{"meshName":"m"}'))
            other.send(signed(other.host, "PUT", MESHES, b'{"meshName":"n"}'))
            _until_in_flight(small, 2)
            answer = small.ask("GET", MESHES)
            assert (answer.status, answer.code) == (429, "TooManyRequestsException")
            assert answer.headers["retry-after"] == "1"
            assert small.ask("GET", "/healthz", key=None).status == 200
        assert [one.answer().status, other.answer().status] == [200, 200]
        assert small.ask("GET", MESHES).status == 200
    assert counted(small, "requests") == 1


@contextlib.contextmanager
def locked(server: Serving) -> Iterator[None]:
    """Let another program hold the database: who writes waits meanwhile, and keeps a place."""
    path = server.store._database.path
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def test_bodies_that_come_slowly_keep_no_place(tmp_path: Path) -> None:
    """A known key's half requests, more than there are places, and everybody is served meanwhile."""
    with serving(tmp_path, limits=Limits(requests=2)) as server, contextlib.ExitStack() as stack:
        raws = [stack.enter_context(Raw(server.url)) for _ in range(6)]
        for raw in raws:
            raw.send(signed(raw.host, "PUT", MESHES, b'{"meshName":"m"}')[:-1])
        alive(server)
        raws[0].send(b"}")
        assert raws[0].answer().status == 200


def test_a_small_body_must_come_soon_and_a_large_one_at_a_pace(tmp_path: Path) -> None:
    """What drips is cut off long before the end of the longest time, and what flows is not."""
    limits = Limits(body_grace=0.4, body_pace=100_000, body_seconds=30.0)
    with serving(tmp_path, limits=limits) as server, Raw(server.url) as slow, Raw(server.url) as steady:
        began = time.monotonic()
        slow.send(signed(slow.host, "PUT", MESHES, b'{"meshName":"m"}')[:-5])
        body = b'{"meshName":"m"}' + b" " * 300_000
        request = signed(steady.host, "PUT", MESHES, body)
        steady.send(request[:-100_000])
        assert slow.answer().status == 408
        assert 0.3 < time.monotonic() - began < 20
        steady.send(request[-100_000:])
        assert steady.answer().status == 200, "200,000 bytes had come, which is two more seconds"


def test_one_caller_leaves_places_to_others(tmp_path: Path) -> None:
    """However many requests it makes that take long; its own next one is told to come again."""
    other = AccessKey(id="AKIAOTHERONE", secret="s", principal="other", created_at=0)
    with serving(tmp_path, limits=Limits(requests=4, requests_each=2)) as server:
        server.store.add_key(other)
        with Raw(server.url) as one, Raw(server.url) as two:
            with locked(server):
                one.send(signed(one.host, "PUT", MESHES, b'{"meshName":"m"}'))
                two.send(signed(two.host, "PUT", MESHES, b'{"meshName":"n"}'))
                _until_in_flight(server, 2)
                answer = server.ask("GET", MESHES)
                assert (answer.status, answer.code) == (429, "TooManyRequestsException")
                assert server.ask("GET", MESHES, key=other).code == "AccessDeniedException", "it was heard"
            assert [one.answer().status, two.answer().status] == [200, 200]


def test_one_callers_bodies_leave_room_for_others(tmp_path: Path) -> None:
    """Another key's bodies have a part of the bytes that the first one's cannot take."""
    other = AccessKey(id="AKIAOTHERONE", secret="s", principal="other", created_at=0)
    body = b'{"meshName":"m"}' + b" " * 80_000
    with serving(tmp_path, limits=Limits(bodies_bytes=200_000, bodies_bytes_each=100_000)) as server:
        server.store.add_key(other)
        with Raw(server.url) as first, Raw(server.url) as second, Raw(server.url) as third:
            first.send(signed(first.host, "PUT", MESHES, body)[:-1])
            until, status = time.monotonic() + DEADLINE, 200
            while status == 200 and time.monotonic() < until:
                second.send(signed(second.host, "PUT", MESHES, body))
                status = second.answer().status
                body = body.replace(b'"m"', b'"n"')
            assert status in {409, 429}
            while status == 409 and time.monotonic() < until:
                second.send(signed(second.host, "PUT", MESHES, body))
                status = second.answer().status
            assert status == 429
            third.send(signed(third.host, "PUT", MESHES, body.replace(b'"n"', b'"o"'), key=other))
            assert third.answer().code == "AccessDeniedException", "it was read"


def _until_in_flight(server: Serving, number: int) -> None:
    until = time.monotonic() + DEADLINE
    while (
        f"meshwright_requests_in_flight {float(number)}" not in server.ask("GET", "/metrics", key=None).body.decode()
    ):
        assert time.monotonic() < until


def test_stock_clients_repeat_what_was_turned_away(small: Serving) -> None:
    """boto3 takes 429 for a reason to wait and try again."""
    client = small.client()
    with Raw(small.url) as one, Raw(small.url) as other, locked(small):
        for raw, name in ((one, b"m"), (other, b"n")):
            raw.send(signed(raw.host, "PUT", MESHES, b'{"meshName":"%b"}' % name))
        _until_in_flight(small, 2)
        with pytest.raises(client.exceptions.TooManyRequestsException):
            client.list_meshes()
    until = time.monotonic() + DEADLINE
    while small.ask("GET", MESHES).status != 200:
        assert time.monotonic() < until
    small.client().list_meshes()


def test_strangers_that_are_slow_keep_no_place_and_are_soon_gone(tmp_path: Path) -> None:
    """Who sends a token cannot be known before its body is read: more half ones than places keep no whole one out."""
    form = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    action = b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
    token = action + b"&RoleArn=arn:aws:iam::000000000000:role/r&RoleSessionName=ss"
    limits = Limits(unsigned=2, unsigned_each=1, unsigned_seconds=1.0)
    with serving(tmp_path, limits=limits) as server, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Raw(server.url)) for _ in range(8)]
        for raw in slow:
            raw.send(form % 100 + b"Action=AssumeRole")
        with Raw(server.url) as whole:
            whole.send(form % len(token) + token)
            answer = whole.answer()
            assert answer.status == 400, "it lacks its token"
            assert b"WebIdentityToken" in answer.body
        began = time.monotonic()
        assert {raw.answer().status for raw in slow} == {408}
        assert time.monotonic() - began < 20
        alive(server)


def test_more_connections_than_places_take_the_longest_idle_ones(small: Serving) -> None:
    """Silent connections cannot keep a client out."""
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(Raw(small.url)) for _ in range(SMALL.connections)]
        alive(small)
        assert idle[0].ended()
    assert counted(small, "connections") >= 1


def test_when_all_are_busy_a_new_connection_is_told_so(tmp_path: Path) -> None:
    """503 with Retry-After, in the form of every other refusal."""
    with serving(tmp_path, limits=Limits(connections=3)) as server, contextlib.ExitStack() as stack:
        watching = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=DEADLINE)
        stack.callback(watching.close)
        busy = [stack.enter_context(Raw(server.url)) for _ in range(2)]
        with locked(server):
            for raw, name in zip(busy, (b"m", b"n"), strict=True):
                raw.send(signed(raw.host, "PUT", MESHES, b'{"meshName":"%b"}' % name))
            text = b""
            while b"meshwright_requests_in_flight 2.0" not in text:
                watching.request("GET", "/metrics")
                text = watching.getresponse().read()
            third = stack.enter_context(Raw(server.url))
            third.send(signed(third.host, "PUT", MESHES, b'{"meshName":"o"}'))
            assert watching.sock is not None
            assert watching.sock.recv(1) == b"", "the one that waited gave way"
            # Until the third's request is whole it gives way itself; afterwards nobody does.
            answer = Answer(200, {}, b"")
            until = time.monotonic() + DEADLINE
            while answer.status == 200 and time.monotonic() < until:
                with Raw(server.url) as raw:
                    raw.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                    answer = raw.answer()
            assert (answer.status, answer.code) == (503, "ServiceUnavailableException")
            assert answer.headers["retry-after"] == "1"
        assert [raw.answer().status for raw in busy] == [200, 200]


def test_connections_whose_bodies_come_slowly_give_way(tmp_path: Path) -> None:
    """A key's half requests on every connection keep nobody out."""
    with serving(tmp_path, limits=Limits(connections=4)) as server, contextlib.ExitStack() as stack:
        for _ in range(4):
            raw = stack.enter_context(Raw(server.url))
            raw.send(signed(raw.host, "PUT", MESHES, b'{"meshName":"m"}', {"expect": "100-continue"})[:-1])
            assert raw.answer().status == 100
        alive(server)


def test_an_answer_that_is_not_read_is_not_kept(tmp_path: Path) -> None:
    """A client that asks and does not read would fill the memory with answers."""
    limits = Limits(write_seconds=0.5, pipelined=5000)
    with serving(tmp_path, limits=limits) as server, Raw(server.url, timeout=0.5, receive_buffer=4096) as raw:
        with contextlib.suppress(TimeoutError):
            raw.send(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 3000)
        until = time.monotonic() + DEADLINE
        while counted(server, "write_seconds") == 0 and time.monotonic() < until:
            assert counted(server, "pipelined") == 0
        assert counted(server, "write_seconds") == 1
        alive(server)


def test_pipelined_requests_are_answered_in_order_up_to_a_number(small: Serving) -> None:
    """Two come back one after the other; a hundred are not kept."""
    with Raw(small.url) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
        assert [raw.answer().status for _ in range(2)] == [200, 403]
    with Raw(small.url) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
        assert counted(small, "pipelined") >= 1
    alive(small)


def test_what_follows_a_refused_body_is_read_as_the_next_request(small: Serving) -> None:
    """The refusal comes at once, the body is thrown away, and the connection goes on."""
    with Raw(small.url) as raw:
        raw.send(b"PUT /v20190125/meshes HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n")
        assert raw.answer().status == 403
        raw.send(b"GET / HTTPGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = raw.answer()
        assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})


def test_a_refused_body_is_not_taken_for_ever(small: Serving) -> None:
    """Neither in time nor in bytes."""
    with Raw(small.url) as raw:
        raw.send(b"PUT /v20190125/meshes HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        assert raw.answer().status == 403
        assert raw.ended()
    alive(small)


def test_a_client_that_asks_before_it_sends_is_refused_before_it_sends(small: Serving) -> None:
    """No 100-continue for nobody; one for a known key."""
    with Raw(small.url) as raw:
        raw.send(head("PUT", MESHES, {"host": "x", "expect": "100-continue", "content-length": "10"}))
        answer = raw.answer()
        assert (answer.status, answer.headers["connection"]) == (403, "close")
        assert raw.ended()
    with Raw(small.url) as raw:
        request = signed(raw.host, "PUT", MESHES, b'{"meshName":"m"}', {"expect": "100-continue"})
        raw.send(request[:-16])
        assert raw.answer().status == 100
        raw.send(request[-16:])
        assert raw.answer().status == 200


def test_a_signature_over_a_known_hash_is_judged_before_the_body(small: Serving) -> None:
    """With X-Amz-Content-SHA256 the head is enough to refuse another secret; the body must be the one it says."""
    wrong = type(KEY)(id=KEY.id, secret="another", principal=KEY.principal, created_at=0)
    body = b'{"meshName":"m"}'
    with Raw(small.url) as raw:
        raw.send(signed(raw.host, "PUT", MESHES, body, key=wrong, hash_header=True)[: -len(body)])
        assert raw.answer().code == "InvalidSignatureException"
    with Raw(small.url) as raw:
        raw.send(signed(raw.host, "PUT", MESHES, body, hash_header=True)[: -len(body)] + b'{"meshName":"n"}')
        assert raw.answer().code == "InvalidSignatureException"
    assert small.store.head().revision == 0


def test_a_head_in_two_parts_within_many_is_no_large_one(tmp_path: Path) -> None:
    """Requests come in whatever pieces the network makes."""
    with serving(tmp_path, limits=Limits(head_bytes=2048, pipelined=5000)) as server, Raw(server.url) as raw:
        request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
        raw.send(request * 200 + request[:10])
        raw.send(request[10:] + request * 200)
        assert {raw.answer().status for _ in range(401)} == {200}


def test_a_rate_lets_a_burst_through_and_then_some() -> None:
    """And tells how many it left out."""
    rate = Rate(burst=2, every=1000)
    assert [rate.allow(at) for at in (0, 0, 0, 999, 1000, 1000, 5000, 5000, 5000)] == [
        True,
        True,
        False,
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    assert (rate.forget(), rate.forget()) == (4, 0)
    assert Rate(burst=1, every=1000).allow(-5)


def test_an_amount_is_held_and_given_back() -> None:
    """A refused one takes nothing."""
    held = Held(3, 2, "places")
    with held.one("a"):
        held.take("a", 1)
        with pytest.raises(TooManyRequestsException, match="your part of places are used up"):
            held.take("a", 1)
        held.take("b", 1)
        with pytest.raises(TooManyRequestsException, match=": places are used up"):
            held.take("b", 1)
        held.give("a", 1)
        held.give("b", 1)
    assert held.amount == 0
    with held.one("b"), held.one("b"):
        assert held.amount == 2
