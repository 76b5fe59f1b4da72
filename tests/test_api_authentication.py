"""Nothing but the questions about health is answered without a valid signature."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import msgspec
import pytest

from meshwright.api.answers import ErrorLayer
from meshwright.store.contract import AccessKey
from meshwright.trust.sigv4 import Request, sign
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
