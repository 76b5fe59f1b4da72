"""Nothing but the questions about health is answered without a valid signature."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
import msgspec
import pytest

from meshwright.api.answers import ErrorLayer
from meshwright.store.contract import AccessKey, Session
from meshwright.trust.principals import Principal
from meshwright.trust.sigv4 import Request, sign
from processes import DEADLINE
from raw_http import Raw, head
from raw_http import signed as whole
from serving import KEY, now, services

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from serving import Serving

MESHES = "/v20190125/meshes"


def code_of(call: Any) -> tuple[str, int]:
    """The error's name and HTTP status."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_an_unsigned_request_is_refused_on_every_path_but_health(server: Serving) -> None:
    """Also where nothing is, so that nobody learns what is."""
    for method, path in (("GET", MESHES), ("PUT", MESHES), ("GET", "/x"), ("POST", "/meshwright/v1/releases")):
        answer = server.ask(method, path, key=None)
        assert (answer.status, answer.code) == (403, "MissingAuthenticationTokenException")
    assert b"<Code>MissingAuthenticationToken</Code>" in server.ask("GET", "/", key=None).body
    for path in ("/healthz", "/readyz", "/metrics"):
        assert server.ask("GET", path, key=None).status == 200


def test_stock_clients_are_refused_as_aws_refuses_them(server: Serving) -> None:
    """Another secret, an unknown key, another region."""
    wrong = msgspec.structs.replace(KEY, secret="another")
    unknown = msgspec.structs.replace(KEY, id="AKIANOBODY")
    assert code_of(server.client(wrong).list_meshes) == ("InvalidSignatureException", 403)
    assert code_of(server.client(unknown).list_meshes) == ("UnrecognizedClientException", 403)
    assert code_of(server.client(region_name="eu-west-1").list_meshes) == ("InvalidSignatureException", 403)
    assert server.store.head().revision == 0


def signed(server: Serving, body: bytes, service: str = "appmesh", age: int = 0) -> dict[str, str]:
    """The headers of a CreateMesh signed `age` milliseconds ago."""
    host = {"host": server.url.removeprefix("http://")}
    request = Request.of("PUT", MESHES, host.items(), body)
    return host | sign(request, KEY.id, KEY.secret, "us-east-1", service, now() - age)


def test_what_changed_on_the_way_is_refused(server: Serving) -> None:
    """Body, path, query and headers are what was signed; so are the service and the time."""
    body = b'{"meshName":"m"}'
    headers = signed(server, body)
    assert server.send("PUT", MESHES, headers, b'{"meshName":"x"}').status == 403
    assert server.send("PUT", f"{MESHES}/m", headers, body).status == 403
    assert server.send("PUT", f"{MESHES}?a=b", headers, body).status == 403
    assert server.send("PUT", MESHES, {**headers, "x-amz-target": "y"}, body).status == 403
    assert server.send("PUT", MESHES, signed(server, body, service="execute-api"), body).status == 403
    assert server.send("PUT", MESHES, signed(server, body, age=600_000), body).status == 403
    assert server.store.head().revision == 0
    assert server.send("PUT", MESHES, headers, body).status == 200


def test_a_key_made_by_another_process_works_at_once(server: Serving) -> None:
    """It is read from the store with each request; its principal is who did it."""
    key = AccessKey(id="AKIABUILD", secret="s", principal="build", created_at=1)
    server.store.add_key(key)
    server.client(key).create_mesh(meshName="m")
    assert [one.principal for one in server.store.revisions()] == ["arn:aws:iam::000000000000:user/build"]


async def test_a_failure_inside_is_logged_and_not_told(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """The client gets a request id, the log the traceback under it."""

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError(f"the secret of {scope['path']}")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/v20190125/meshes", "headers": [], "query_string": b""}
    with caplog.at_level(logging.INFO, logger="meshwright.api"):
        await ErrorLayer(failing, services(server.store))(scope, receive, send)
    headers, body = dict(sent[0]["headers"]), sent[1]["body"].decode()
    request_id = headers[b"x-amzn-requestid"].decode()
    assert (sent[0]["status"], headers[b"x-amzn-errortype"]) == (500, b"InternalServerErrorException")
    assert request_id in body
    assert "secret" not in body
    failure, request = caplog.records
    assert failure.exc_info is not None
    assert (vars(failure)["request_id"], vars(request)["request_id"]) == (request_id, request_id)
    assert vars(request)["status"] == 500


def raw(server: Serving, data: bytes, method: str = "GET") -> Any:
    """The answer to exactly these bytes."""
    with Raw(server.url) as connection:
        connection.send(data)
        return connection.answer(method)


HOST = {"host": "x"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://x/v20190125/meshes HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET /v20190125/meshes#a HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET /\xe1\x88\xb4 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nfolded: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nname : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nna\x00me: a\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: +1\r\n\r\na", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: identity\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"PUT /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_what_two_servers_could_read_differently_is_refused(server: Serving, sent: bytes, status: int) -> None:
    """Request smuggling, and everything else that is no plain HTTP/1.1: answered in JSON or XML, never by a crash."""
    answer = raw(server, sent)
    assert answer.status == status
    assert answer.body


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_signed_and_then_refused(server: Serving, method: str) -> None:
    """Unsigned they are nobody's; signed they are no operation."""
    assert raw(server, head(method, MESHES, HOST), method).status == 403
    answer = raw(server, whole("x", method, MESHES), method)
    assert (answer.status, answer.code) == (405, "UnknownOperationException")


def test_http_1_0_is_served_and_closed(server: Serving) -> None:
    """Health checks of old load balancers speak it, without a Host."""
    with Raw(server.url) as connection:
        connection.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert connection.answer().status == 200
        assert connection.ended()


def test_an_offered_protocol_is_not_taken(server: Serving) -> None:
    """Java's client offers HTTP/2 with each request; what comes after it is not read as HTTP."""
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAAQ"}
    with Raw(server.url) as connection:
        connection.send(whole("x", "GET", MESHES, headers=offer) + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert connection.ended()


def changed(name: str, value: str | None) -> Any:
    """A change of one header of a signed request; None takes it out."""

    def change(data: bytes) -> bytes:
        lines = [line for line in data.split(b"\r\n") if not line.lower().startswith(name.encode() + b":")]
        if value is not None:
            lines.insert(1, f"{name}: {value}".encode("latin-1"))
        return b"\r\n".join(lines)

    return change


def doubled(name: str) -> Any:
    """The header once more."""

    def change(data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        line = next(one for one in lines if one.lower().startswith(name.encode() + b":"))
        return b"\r\n".join([lines[0], line, *lines[1:]])

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (changed("authorization", None), "MissingAuthenticationTokenException"),
        (changed("authorization", "Bearer abc"), "IncompleteSignatureException"),
        (changed("authorization", "AWS4-HMAC-SHA256 nonsense"), "IncompleteSignatureException"),
        (doubled("authorization"), "IncompleteSignatureException"),
        (doubled("x-amz-date"), "IncompleteSignatureException"),
        (changed("x-amz-date", None), "IncompleteSignatureException"),
        (changed("x-amz-date", "20260131"), "IncompleteSignatureException"),
        (changed("x-amz-date", "20200101T000000Z"), "InvalidSignatureException"),
        (changed("host", "elsewhere"), "InvalidSignatureException"),
        (changed("x-amz-target", "a"), "InvalidSignatureException"),
        (changed("x-amz-security-token", "a"), "InvalidSignatureException"),
        (changed("x-amz-meta", "\xff"), "InvalidSignatureException"),
        (changed("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), "InvalidSignatureException"),
        (changed("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), "InvalidSignatureException"),
        (changed("content-encoding", "aws-chunked"), "InvalidSignatureException"),
        (lambda data: data.replace(b"meshes ", b"meshe ", 1), "InvalidSignatureException"),
        (lambda data: data.replace(b"meshes ", b"meshes?a=%zz ", 1), "InvalidSignatureException"),
        (lambda data: data.replace(b"/meshes ", b"//meshes ", 1), "InvalidSignatureException"),
        (lambda data: data.replace(b"/meshes ", b"/x/../meshes ", 1), "InvalidSignatureException"),
        (lambda data: data.replace(b"PUT", b"GET", 1), "InvalidSignatureException"),
        (lambda data: data.replace(b'"m"', b'"n"'), "InvalidSignatureException"),
    ],
)
def test_each_way_to_sign_wrongly_has_its_code(server: Serving, change: Any, code: str) -> None:
    """As AWS's rest-json services name them; nothing is written."""
    answer = raw(server, change(whole("x", "PUT", MESHES, b'{"meshName":"m"}')))
    assert (answer.code, answer.status) == (code, 400 if code.startswith("Incomplete") else 403)
    assert KEY.secret.encode() not in answer.body
    assert server.store.head().revision == 0


def test_a_streamed_body_is_refused_in_clear_words(server: Serving) -> None:
    """Signed as it is, by S3's rules: the words say what to do."""
    for value in ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
        answer = raw(server, whole("x", "PUT", MESHES, b"{}", {"x-amz-content-sha256": value}))
        assert answer.status == 403
        assert "Sign the body whole" in answer.message


def test_a_name_of_dots_is_a_name(server: Serving) -> None:
    """Encoded, it is one segment of the path and decided on as a name; plain, it is refused."""
    answer = raw(server, whole("x", "GET", f"{MESHES}/%2E%2E"))
    assert (answer.status, answer.code) == (404, "NotFoundException")
    assert raw(server, whole("x", "GET", f"{MESHES}/..")).code == "InvalidSignatureException"
    assert raw(server, whole("x", "GET", f"{MESHES}/a%2Fb")).status in {400, 404}


SESSION = Session(
    key_id="ASIATESTSESSION",
    secret="session secret",
    token="a/token+with=signs",
    principal=Principal(account="000000000000", kind="user", name="administrator"),
    created_at=0,
    expires_at=2**42,
)


def as_session(server: Serving, token: str | None = SESSION.token) -> Any:
    """A stock client with temporary credentials."""
    key = AccessKey(id=SESSION.key_id, secret=SESSION.secret, principal="", created_at=0)
    return server.client(key, aws_session_token=token)


def test_a_session_works_with_its_own_token_only(server: Serving) -> None:
    """And until it expires or is revoked."""
    server.store.add_session(SESSION)
    as_session(server).list_meshes()
    assert code_of(as_session(server, None).list_meshes) == ("UnrecognizedClientException", 403)
    assert code_of(as_session(server, "another").list_meshes) == ("UnrecognizedClientException", 403)
    assert code_of(server.client(aws_session_token="a").list_meshes) == ("UnrecognizedClientException", 403)
    server.store.revoke(f"session:{SESSION.key_id}", now(), "x")
    assert code_of(as_session(server).list_meshes) == ("ExpiredTokenException", 403)


def test_an_expired_session_is_told_so(server: Serving) -> None:
    """By the name at which SDKs fetch new credentials."""
    server.store.add_session(msgspec.structs.replace(SESSION, expires_at=now()))
    assert code_of(as_session(server).list_meshes) == ("ExpiredTokenException", 403)


def test_a_revoked_key_is_unknown(server: Serving) -> None:
    """At once."""
    key = AccessKey(id="AKIAGONE", secret="s", principal="administrator", created_at=1)
    server.store.add_key(key)
    server.client(key).list_meshes()
    server.store.revoke(f"key:{key.id}", now(), "x")
    assert code_of(server.client(key).list_meshes) == ("UnrecognizedClientException", 403)


def presigned(server: Serving, **credentials: str) -> str:
    """The URL that stock botocore signs for ListMeshes."""
    keys = {"aws_access_key_id": KEY.id, "aws_secret_access_key": KEY.secret} | credentials
    client = boto3.session.Session().client("appmesh", endpoint_url=server.url, region_name="us-east-1", **keys)
    url: str = client.generate_presigned_url("list_meshes", Params={"limit": 5}, ExpiresIn=60)
    return url


def fetched(url: str) -> int:
    """The status of a plain GET."""
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE) as response:  # noqa: S310 - the address of our own server
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_presigned_url_of_boto3_works_as_it_is(server: Serving) -> None:
    """Also a session's, with its token in the query; not with anything changed or repeated."""
    url = presigned(server)
    assert fetched(url) == 200
    assert fetched(url.replace("limit=5", "limit=6")) == 403
    assert fetched(url + "&limit=5") == 403
    assert fetched(url + "&X-Amz-Expires=60") == 400
    assert fetched(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")) == 403
    assert fetched(url.replace("X-Amz-Expires=60", "X-Amz-Expires=9999999")) == 400
    assert fetched(url.replace("X-Amz-Signature", "x-amz-signature")) == 400
    server.store.add_session(SESSION)
    keys = {"aws_access_key_id": SESSION.key_id, "aws_secret_access_key": SESSION.secret}
    url = presigned(server, **keys, aws_session_token=SESSION.token)
    assert fetched(url) == 200
    assert fetched(url.replace("X-Amz-Security-Token=a", "X-Amz-Security-Token=b")) == 403
    assert fetched(presigned(server, **keys)) == 403


def test_two_forms_of_signature_at_once_are_refused(server: Serving) -> None:
    """It could not be said whose request it is."""
    target = presigned(server).removeprefix(server.url)
    assert raw(server, whole(server.url.removeprefix("http://"), "GET", target)).status == 400


def test_equal_calls_within_a_second_both_work(server: Serving) -> None:
    """They sign identically; a repeated create is told apart by its token, not by its signature."""
    client = server.client()
    for _ in range(3):
        assert client.create_mesh(meshName="m", clientToken="t")["mesh"]["meshName"] == "m"
        client.list_meshes()
    assert server.store.head().revision == 1


def test_a_date_header_serves_as_well(server: Serving) -> None:
    """Stock botocore signs the Date that a caller sets, and leaves X-Amz-Date out."""
    client = server.client()
    client.meta.events.register(
        "before-sign.appmesh.ListMeshes", lambda request, **_: request.headers.add_header("Date", "now")
    )
    assert client.list_meshes()["meshes"] == []


def test_refusals_are_counted_and_logged_at_a_bounded_rate(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """A flood fills neither the log nor the audit log."""
    before = server.store.checkpoint()
    with caplog.at_level(logging.INFO, logger="meshwright.api"):
        for _ in range(60):
            server.ask("GET", MESHES, key=None)
    assert 10 <= len(caplog.records) <= 30
    assert server.store.checkpoint() == before
    text = server.ask("GET", "/metrics", key=None).body.decode()
    assert 'meshwright_refused_unauthenticated_total{reason="MissingAuthenticationTokenException"} 60.0' in text


@pytest.fixture(scope="session")
def aws() -> str:
    """The AWS CLI, or a skip where none is installed."""
    found = os.environ.get("MESHWRIGHT_AWS_CLI") or shutil.which("aws")
    if not found:
        pytest.skip("there is no AWS CLI on this machine")
    return found


def run_aws(aws: str, server: Serving, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A stock command, with nothing but environment variables set."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    own |= {"AWS_ACCESS_KEY_ID": KEY.id, "AWS_SECRET_ACCESS_KEY": KEY.secret, "AWS_DEFAULT_REGION": "us-east-1"}
    own |= {"AWS_ENDPOINT_URL_APP_MESH": server.url, "AWS_ENDPOINT_URL_STS": server.url, "AWS_MAX_ATTEMPTS": "1"}
    return subprocess.run(
        [aws, *words], env=own | environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_aws_command_line_works_as_it_is(server: Serving, aws: str) -> None:
    """And is refused by AWS's own names."""
    done = run_aws(aws, server, "appmesh", "create-mesh", "--mesh-name", "shop")
    assert (done.returncode, '"meshName": "shop"' in done.stdout) == (0, True), done.stderr
    wrong = run_aws(aws, server, "appmesh", "list-meshes", AWS_SECRET_ACCESS_KEY="wrong")
    assert wrong.returncode != 0
    assert "(InvalidSignatureException)" in wrong.stderr
