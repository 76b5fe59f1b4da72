"""The HTTP API over a real socket, on the SQLite store, in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import socket
import threading
import uuid
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import boto3
import uvicorn
from botocore.config import Config

from meshwright.api.app import Services, build
from meshwright.api.connection import Connections
from meshwright.api.limits import Limits
from meshwright.api.metrics import Metrics
from meshwright.api.writing import Writer
from meshwright.audit import SigningKey
from meshwright.control import Control
from meshwright.operations import UNLIMITED
from meshwright.snapshot.resources import Snapshot
from meshwright.store import sqlite
from meshwright.store.contract import AccessKey
from meshwright.trust.sigv4 import Request, sign
from processes import DEADLINE
from trusting import WIDE, authority
from wire_client import Answer, now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.operations import Quotas
    from meshwright.snapshot.resources import Placement, Traits
    from meshwright.store.sqlite import SqliteStore

__all__ = ["KEY", "SIGNING_KEY", "Answer", "Serving", "empty", "now", "services", "serving"]

SIGNING_KEY = SigningKey("meshwright/000000000000/tests", bytes(range(32)))
KEY = AccessKey(id="AKIATESTADMIN", secret="not-a-real-secret", principal="administrator", created_at=0)


def empty(_graph: Graph, proxy: Key, _placement: Placement, _traits: Traits, _now: int) -> Snapshot:
    """A snapshot of nothing: no proxy connects to these servers."""
    return Snapshot(proxy=proxy, resources={})


class Serving:
    """A running API: its address, its store, clients for it."""

    def __init__(self, url: str, store: SqliteStore) -> None:
        self.url = url
        self.store = store

    def client(self, key: AccessKey = KEY, **options: Any) -> Any:
        """A stock boto3 client, with its own retries off so that each answer is seen."""
        options = {
            "region_name": "us-east-1",
            "aws_access_key_id": key.id,
            "aws_secret_access_key": key.secret,
        } | options
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30)
        return boto3.session.Session().client("appmesh", endpoint_url=self.url, config=config, **options)

    def ask(
        self, method: str, target: str, body: bytes = b"", *, key: AccessKey | None = KEY, **headers: str
    ) -> Answer:
        """Send one request as it stands, signed by `key`, or by nobody; keywords are headers, `_` for `-`."""
        host = urlsplit(self.url).netloc
        sent = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if key is not None:
            request = Request.of(method, target, sent.items(), body)
            sent |= sign(request, key.id, key.secret, "us-east-1", "appmesh", now())
        return self.send(method, target, sent, body)

    def send(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """Send one request with exactly these headers."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=DEADLINE)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()


def services(store: SqliteStore, quotas: Quotas | None = UNLIMITED, limits: Limits | None = None) -> Services:
    """What `meshwright.server` would assemble, without xDS."""
    control = Control(empty, now)
    control.publish(store.head())

    metrics, everybody = Metrics(), authority(WIDE)
    writer = Writer(store, lambda head, _: control.publish(head), measured=metrics.committed)
    return Services(
        store=store,
        writer=writer,
        control=control,
        now=now,
        signing_key=SIGNING_KEY,
        uid=lambda: str(uuid.uuid4()),
        quotas=quotas,
        metrics=metrics,
        limits=limits or Limits(),
        authority=lambda: everybody,
    )


@contextlib.contextmanager
def serving(
    folder: Path, quotas: Quotas | None = UNLIMITED, limits: Limits | None = None, **members: Any
) -> Iterator[Serving]:
    """The API on a free port until the block ends; `KEY` is the administrator's, `members` are of `Services`."""
    store = sqlite.connect(folder / "meshwright.db")
    if store.key(KEY.id) is None:
        store.add_key(KEY)
    # Named as TCP, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    given = dataclasses.replace(services(store, quotas, limits), **members)
    connections = Connections(given.limits, given.metrics)
    config = uvicorn.Config(
        build(given),
        http=cast("Any", connections.protocol),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        lifespan="off",
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        await server.serve(sockets=[listening])
        await given.attempts.close()
        await given.writer.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        # The socket listens already: what comes before the server is ready waits in its queue.
        yield Serving(f"http://127.0.0.1:{listening.getsockname()[1]}", store)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()
        store.close()
