"""Parameter Store for tests: moto's, behind a door that writes down every call and can answer in its place."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3

from processes import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloud_map import Moto

Answer = tuple[int, dict[str, Any]]


class Door:
    """What stands before Parameter Store."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Every call: its operation and its arguments."""
        self.keys: set[str] = set()
        """The access keys that calls were signed with."""
        self.instead: Callable[[str, dict[str, Any]], Answer | None] = lambda *_: None
        """What answers in the place of moto, where it gives anything."""
        self.url = ""

    @property
    def environment(self) -> dict[str, str]:
        """AWS's own settings that lead here."""
        return {
            "AWS_ENDPOINT_URL_SSM": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "eu-west-1",
        }

    def put(self, name: str, value: str, kind: str = "String") -> None:
        """Make a parameter, or a new version of it."""
        session = boto3.session.Session("test", "test", region_name="eu-west-1")
        client = session.client("ssm", endpoint_url=self._moto.url)
        client.put_parameter(Name=name, Value=value, Type=kind, Overwrite=True)

    def answer(self, operation: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """The answer to a call."""
        arguments = json.loads(body)
        self.calls.append((operation, arguments))
        signature = next(one for name, one in headers.items() if name.lower() == "authorization")
        self.keys.add(signature.partition("Credential=")[2].partition("/")[0])
        own = self.instead(operation, arguments)
        if own is not None:
            return own[0], json.dumps(own[1]).encode()
        asked = http.client.HTTPConnection("127.0.0.1", self._moto.port, timeout=DEADLINE)
        with contextlib.closing(asked):
            asked.request("POST", "/", body, headers)
            found = asked.getresponse()
            return found.status, found.read()


@contextlib.contextmanager
def door(moto: Moto) -> Iterator[Door]:
    """A door before `moto`, open until the end."""
    made = Door(moto)

    class Asked(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            kept = {name: one for name, one in self.headers.items() if name.lower() != "host"}
            status, answer = made.answer(operation, body, kept)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
