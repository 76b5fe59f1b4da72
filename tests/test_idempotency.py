"""A request that is repeated with its token does nothing twice and is answered as it was the first time."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from live import live
from meshwright import operations
from meshwright.errors import ServiceUnavailableException, UnreachableError
from meshwright.model.identity import Key
from meshwright.operations.table import Verb
from meshwright.release import ApplyRequest, Item, RollbackRequest
from meshwright.remote import Client, Credentials
from meshwright.store.contract import Session
from meshwright.trust.principals import Principal
from meshwright.trust.sigv4 import Request, sign
from serving import KEY, Serving, now, serving
from trusting import authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

Wire = dict[str, Any]
OTHER = "111111111111"
MESHES = "/v20190125/meshes"
RELEASES = "/meshwright/v1/meshes/shop/stacks/cart/releases"
RELEASE = {"resources": [{"object": "mesh/shop", "spec": {}, "tags": {}}]}
CONFLICT = (
    "The request contains a client token that was used for a previous update resource call with different "
    "specifications. Try the request again with a new client token."
)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Serving]:
    """A server on a database of its own."""
    with serving(tmp_path) as running:
        yield running


def revision(api: Serving) -> int:
    """How many writes there were."""
    return api.store.head().revision


def put(api: Serving, target: str, body: Wire) -> tuple[int, bytes]:
    """Status and body of one signed PUT."""
    answer = api.ask("PUT", target, json.dumps(body).encode())
    return answer.status, answer.body


def test_the_first_answer_is_given_again_word_for_word(api: Serving) -> None:
    """Whatever became of the object since: changed, deleted, made anew by somebody else."""
    body = {"meshName": "shop", "clientToken": "first", "tags": [{"key": "a", "value": "b"}]}
    first = put(api, MESHES, body)
    assert first[0] == 200
    assert put(api, MESHES, body) == first
    assert revision(api) == 1
    update = {"spec": {"egressFilter": {"type": "ALLOW_ALL"}}, "clientToken": "second"}
    updated = put(api, f"{MESHES}/shop", update)
    assert json.loads(updated[1])["metadata"]["version"] == 2
    assert put(api, f"{MESHES}/shop", update) == updated
    assert put(api, MESHES, body) == first
    assert api.ask("DELETE", f"{MESHES}/shop").status == 200
    assert put(api, MESHES, body) == first
    assert put(api, f"{MESHES}/shop", update) == updated
    assert revision(api) == 3
    assert len(api.store.head().state) == 0


def test_members_in_another_order_are_the_same_request(api: Serving) -> None:
    """So is naming one's own account as the mesh's owner: nothing else is meant."""
    put(api, MESHES, {"meshName": "shop"})
    nodes = f"{MESHES}/shop/virtualNodes"
    first = put(api, nodes, {"virtualNodeName": "n", "spec": {"backends": [], "logging": {}}, "clientToken": "t"})
    again = put(
        api,
        f"{nodes}?meshOwner=000000000000",
        {"clientToken": "t", "spec": {"logging": {}, "backends": []}, "virtualNodeName": "n"},
    )
    assert again == first
    assert first[0] == 200


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (MESHES, {"meshName": "shop", "spec": {"egressFilter": {"type": "ALLOW_ALL"}}, "clientToken": "t"}),
        (MESHES, {"meshName": "other", "clientToken": "t"}),
        (MESHES, {"meshName": "shop", "tags": [{"key": "a", "value": ""}], "clientToken": "t"}),
        (f"{MESHES}/shop", {"spec": {}, "clientToken": "t"}),
        (f"{MESHES}/shop/virtualNodes", {"virtualNodeName": "n", "spec": {}, "clientToken": "t"}),
    ],
)
def test_another_request_with_the_token_is_a_conflict(api: Serving, target: str, body: Wire) -> None:
    """Another spec, name, tag, operation or path; in the service's words, and nothing is written."""
    put(api, MESHES, {"meshName": "shop", "clientToken": "t"})
    answer = api.ask("PUT", target, json.dumps(body).encode())
    assert (answer.status, answer.code, answer.message) == (409, "ConflictException", CONFLICT)
    assert revision(api) == 1


def test_a_refused_request_does_not_use_its_token_up(api: Serving) -> None:
    """Once what was missing is there, the same call works."""
    body = {"virtualServiceName": "s", "clientToken": "t"}
    body["spec"] = {"provider": {"virtualNode": {"virtualNodeName": "n"}}}  # type: ignore[assignment]
    services = f"{MESHES}/shop/virtualServices"
    assert put(api, services, body)[0] == 404
    put(api, MESHES, {"meshName": "shop"})
    assert put(api, services, body)[0] == 404
    put(api, f"{MESHES}/shop/virtualNodes", {"virtualNodeName": "n", "spec": {}})
    assert put(api, services, body)[0] == 200
    assert put(api, services, body)[0] == 200
    assert revision(api) == 3


def test_without_a_token_nothing_is_remembered(api: Serving) -> None:
    """An equal create is a conflict then, an equal update another version; deletes have none."""
    put(api, MESHES, {"meshName": "shop"})
    assert put(api, MESHES, {"meshName": "shop"})[0] == 409
    versions = [json.loads(put(api, f"{MESHES}/shop", {"spec": {}})[1])["metadata"]["version"] for _ in range(2)]
    assert versions == [2, 3]
    answer = api.ask("DELETE", f"{MESHES}/shop", b'{"clientToken": "t"}')
    assert (answer.status, answer.code) == (400, "BadRequestException")


@pytest.mark.parametrize("token", ["", "a b", "x" * 37, "ünïcode", "a\n", 7, ["t"]])
def test_a_token_that_is_none_is_refused(api: Serving, token: object) -> None:
    """Up to 36 letters, numbers, hyphens and underscores."""
    answer = api.ask("PUT", MESHES, json.dumps({"meshName": "shop", "clientToken": token}).encode())
    assert (answer.status, answer.code) == (400, "BadRequestException")
    assert "'clientToken'" in answer.message
    assert revision(api) == 0


def test_every_create_and_every_update_takes_a_token_and_nothing_else_does() -> None:
    """So says the published model too."""
    taking = {
        row.name for row in operations.OPERATIONS.values() if "clientToken" in {one.name for one in row.members}
    }
    writing = {row.name for row in operations.OPERATIONS.values() if row.verb in {Verb.CREATE, Verb.UPDATE}}
    assert taking == writing


def test_each_account_has_its_own_tokens(tmp_path: Path) -> None:
    """The same token of two accounts is two."""
    policy = '{Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}'
    text = f"""
version: 1
roles:
  theirs: {{account: "{OTHER}", stack: "*", owns: ["mesh/**"], permissions: [{policy}], assume: []}}
"""
    allowed = authority(text)
    with serving(tmp_path, authority=lambda: allowed) as api:
        principal = Principal(account=OTHER, kind="role", name="theirs", session="s", key_id="ASIAOTHER")
        session = Session(
            key_id="ASIAOTHER",
            secret="not-a-secret",
            token="token",
            principal=principal,
            created_at=now(),
            expires_at=now() + 900_000,
        )
        api.store.add_session(session)
        ours, theirs = (
            api.client(),
            api.client(
                aws_access_key_id="ASIAOTHER", aws_secret_access_key="not-a-secret", aws_session_token="token"
            ),
        )
        made = [one.create_mesh(meshName="shop", clientToken="t")["mesh"] for one in (ours, theirs, ours, theirs)]
        assert [one["metadata"]["meshOwner"] for one in made] == ["000000000000", OTHER, "000000000000", OTHER]
        assert made[0] == made[2]
        assert made[1] == made[3]
        assert revision(api) == 2


def test_an_answer_is_forgotten_after_a_day(tmp_path: Path) -> None:
    """Then the token is as good as new, even where no write has swept the answer away."""
    clock = [now()]
    with serving(tmp_path, now=lambda: clock[0]) as api:
        body = json.dumps({"meshName": "shop", "clientToken": "t"}).encode()
        statuses = []
        for later in (0, 24 * 3600 * 1000 - 1, 1):
            clock[0] += later
            statuses.append(api.send("PUT", MESHES, signed(api, "PUT", MESHES, body, clock[0]), body).status)
        assert statuses == [200, 200, 409]


def signed(api: Serving, method: str, target: str, body: bytes, at: int) -> dict[str, str]:
    """The headers of a request that is signed at `at`."""
    sent = {"host": urlsplit(api.url).netloc}
    request = Request.of(method, target, sent.items(), body)
    return sent | sign(request, KEY.id, KEY.secret, "us-east-1", "appmesh", at)


def test_concurrent_requests_with_one_token_make_one_object(api: Serving) -> None:
    """Sixteen at once, several times: one write, one answer."""
    starting = threading.Barrier(16)

    def create(number: int, round_: int) -> tuple[int, bytes]:
        del number
        starting.wait()
        return put(api, MESHES, {"meshName": f"shop-{round_}", "clientToken": f"t-{round_}"})

    with ThreadPoolExecutor(16) as pool:
        for round_ in range(5):
            answers = {one.result() for one in [pool.submit(create, number, round_) for number in range(16)]}
            assert len(answers) == 1
            assert answers.pop()[0] == 200
            assert revision(api) == round_ + 1


def test_concurrent_requests_with_one_token_and_different_content_make_one_object(api: Serving) -> None:
    """One of them wins, the others are conflicts."""
    starting = threading.Barrier(8)

    def create(number: int) -> int:
        starting.wait()
        return put(api, MESHES, {"meshName": f"shop-{number}", "clientToken": "t"})[0]

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(create, range(8)))
    assert statuses == [200, *[409] * 7]
    assert revision(api) == 1


def test_answers_outlive_the_server(tmp_path: Path) -> None:
    """They lie in the database, written with what they tell of."""
    body = {"meshName": "shop", "clientToken": "t"}
    with serving(tmp_path) as api:
        first = put(api, MESHES, body)
        released = api.ask("POST", RELEASES, json.dumps(RELEASE).encode(), idempotency_key="k")
    with serving(tmp_path) as api:
        assert put(api, MESHES, body) == first
        again = api.ask("POST", RELEASES, json.dumps(RELEASE).encode(), idempotency_key="k")
        assert (again.status, again.body) == (released.status, released.body)


def test_an_answer_survives_the_kill_of_the_server(tmp_path: Path) -> None:
    """Whoever was answered before the kill is answered the same after it."""
    body = json.dumps({"meshName": "shop", "clientToken": "t"}).encode()
    answers = []
    for _ in range(2):
        with live(tmp_path / "data") as server:
            api = Serving(server.api, cast("Any", None))
            answers.append(api.ask("PUT", MESHES, body, key=server.key))
            server.end(signal.SIGKILL)
    assert [one.status for one in answers] == [200, 200]
    assert answers[0].body == answers[1].body


def test_stock_clients_repeat_by_themselves(api: Serving) -> None:
    """boto3 fills the token in: each call of its own has another one, so that two equal creates conflict."""
    client = api.client()
    client.create_mesh(meshName="shop")
    with pytest.raises(ClientError, match="ConflictException"):
        client.create_mesh(meshName="shop")


def release(spec: Wire) -> bytes:
    """A release of the mesh with `spec`."""
    return json.dumps({"resources": [{"object": "mesh/shop", "spec": spec, "tags": {}}]}).encode()


def test_a_release_is_made_once_and_answered_as_it_was(api: Serving) -> None:
    """Also when the stack went on since: a repetition is no rollback."""
    first = api.ask("POST", RELEASES, release({}), idempotency_key="one")
    assert first.status == 201
    second = api.ask("POST", RELEASES, release({"serviceDiscovery": {}}), idempotency_key="two")
    assert second.status == 201
    again = api.ask("POST", RELEASES, release({}), idempotency_key="one")
    assert (again.status, again.body) == (first.status, first.body)
    assert len(api.store.releases("shop", "cart")) == 2
    other = api.ask("POST", RELEASES, release({"egressFilter": {"type": "ALLOW_ALL"}}), idempotency_key="one")
    assert (other.status, other.code) == (409, "ConflictException")
    without = api.ask("POST", RELEASES, release({}))
    assert without.status == 201


def test_a_rollback_is_made_once(api: Serving) -> None:
    """The newest release has changed after the first try; the second one restores nothing more."""
    specs: tuple[Wire, ...] = ({}, {"serviceDiscovery": {}}, {"egressFilter": {"type": "ALLOW_ALL"}})
    for spec in specs:
        api.ask("POST", RELEASES, release(spec))
    target = RELEASES.replace("releases", "rollbacks")
    body = json.dumps({"to": 1}).encode()
    first = api.ask("POST", target, body, idempotency_key="back")
    assert first.status == 201
    api.ask("POST", RELEASES, release({"serviceDiscovery": {}}))
    again = api.ask("POST", target, body, idempotency_key="back")
    assert (again.status, again.body) == (first.status, first.body)
    assert len(api.store.releases("shop", "cart")) == 5


@pytest.mark.parametrize("key", ["", "a b", "x" * 129])
def test_a_malformed_idempotency_key_is_refused(api: Serving, key: str) -> None:
    """1 to 128 printable characters."""
    answer = api.ask("POST", RELEASES, release({}), idempotency_key=key)
    assert answer.status == 400
    assert revision(api) == 0


def test_an_idempotency_key_that_nobody_signed_is_refused(api: Serving) -> None:
    """Whoever carries the request could change it, and make a release twice."""
    body = release({})
    headers = signed(api, "POST", RELEASES, body, now())
    answer = api.send("POST", RELEASES, headers | {"idempotency-key": "one"}, body)
    assert (answer.status, answer.code) == (400, "BadRequestException")
    assert "not signed" in answer.message
    assert revision(api) == 0


def test_client_tokens_and_idempotency_keys_are_told_apart(api: Serving) -> None:
    """The same text may be both."""
    assert put(api, MESHES, {"meshName": "other", "clientToken": "t"})[0] == 200
    assert api.ask("POST", RELEASES, release({}), idempotency_key="t").status == 201


class Cutting:
    """A proxy that carries requests to a server and loses the first answers."""

    def __init__(self, api: Serving, losing: int, instead: bytes = b"") -> None:
        """`instead` is what is answered, by the proxy itself, in place of an answer that it loses."""
        self._to = urlsplit(api.url)
        self._losing = losing
        self._instead = instead
        self.heads: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection:
                    answer = self._carried(connection)
                    if self._losing:
                        self._losing -= 1
                        connection.sendall(self._instead)
                    else:
                        connection.sendall(answer)

    def _carried(self, connection: socket.socket) -> bytes:
        """The server's whole answer to the one request on `connection`."""
        head, _, body = connection.recv(1 << 20).partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        length = int(lengths[0]) if lengths else 0
        while len(body) < length:
            body += connection.recv(1 << 20)
        self.heads.append(head.lower())
        closing = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        with socket.create_connection((self._to.hostname, self._to.port)) as server:
            server.sendall(closing + b"\r\n\r\n" + body)
            return b"".join(iter(lambda: server.recv(1 << 16), b""))


def client_of(url: str) -> Client:
    """Our own client, as the administrator."""
    return Client(url, Credentials(key_id=KEY.id, secret=KEY.secret, source="the test"))


def content(mesh: Wire) -> ApplyRequest:
    """A stack of a mesh alone."""
    return ApplyRequest(resources=(Item(key=Key.of_mesh("shop"), spec=mesh),))


def test_a_lost_answer_costs_our_client_nothing(api: Serving) -> None:
    """The second try has the first one's key: one release, one rollback, each told as what it was."""
    with Cutting(api, losing=1) as proxy:
        first = client_of(proxy.url).apply("shop", "cart", content({}))
        assert (first["changed"], first["release"]["number"]) == (True, 1)
        assert len(proxy.heads) == 2
        keys = {line for head in proxy.heads for line in head.split(b"\r\n") if line.startswith(b"idempotency-key:")}
        assert len(keys) == 1
    client_of(api.url).apply("shop", "cart", content({"serviceDiscovery": {}}))
    with Cutting(api, losing=1) as proxy:
        back = client_of(proxy.url).roll_back("shop", "cart", RollbackRequest(to=1))
        assert (back["changed"], back["release"]["number"]) == (True, 3)
    assert [one.number for one in api.store.releases("shop", "cart")] == [3, 2, 1]


def test_not_now_is_asked_once_more(api: Serving) -> None:
    """A 503 may come before or after the write; the key makes it one either way."""
    body = b'{"message": "later"}'
    head = b"HTTP/1.1 503 Service Unavailable\r\nx-amzn-ErrorType: ServiceUnavailableException\r\n"
    later = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with Cutting(api, losing=1, instead=later) as proxy:
        assert client_of(proxy.url).apply("shop", "cart", content({}))["changed"] is True
        assert len(proxy.heads) == 2
    with Cutting(api, losing=2, instead=later) as proxy, pytest.raises(ServiceUnavailableException, match="later"):
        client_of(proxy.url).apply("shop", "cart", content({"serviceDiscovery": {}}))
    assert len(api.store.releases("shop", "cart")) == 2


def test_answers_that_are_lost_one_after_another_are_asked_for_again(api: Serving) -> None:
    """The release was made once, and the answer says so whenever it comes."""
    with Cutting(api, losing=3) as proxy:
        assert client_of(proxy.url).apply("shop", "cart", content({}))["changed"] is True
        assert len(proxy.heads) == 4
    assert len(api.store.releases("shop", "cart")) == 1


def test_reads_are_not_repeated(api: Serving) -> None:
    """Whoever reads may ask again by himself."""
    with Cutting(api, losing=1) as proxy, pytest.raises(UnreachableError):
        client_of(proxy.url).releases("shop", "cart")
    assert len(proxy.heads) == 1


def test_two_calls_of_our_client_are_two_requests(api: Serving) -> None:
    """Each has a key of its own."""
    ours = client_of(api.url)
    meshes: tuple[Wire, ...] = ({}, {}, {"serviceDiscovery": {}}, {})
    changed = [ours.apply("shop", "cart", content(mesh))["changed"] for mesh in meshes]
    assert changed == [True, False, True, True]
