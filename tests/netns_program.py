"""What runs inside a namespace of `netns`: a name server, applications, plain clients that know of no proxy.

One argument, JSON: `{"names": {NAME: [ADDRESS]}, "host": …}`, `{"application": NAME, "ports": {PORT: PROTOCOL},
"host": …}` or `{"ask": [{PROTOCOL: TARGET, …}]}`. The first two print `ready` and stay; the last prints its answers.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_PATIENCE = 10.0
"""Seconds for one answer."""


async def answer_names(host: str, names: dict[str, list[str]]) -> None:
    """The lab's name server on the port that everybody asks."""
    from meshwright.lab.dns import NameServer  # noqa: PLC0415 - clients start without it

    server = NameServer()
    server.publish(names)
    await server.start(host, 53)
    await _stay()


async def be_application(name: str, host: str, ports: dict[str, str]) -> None:
    """An application at `host` that says who it is on every port; `greeting` speaks first, `tls` is HTTPS."""
    from meshwright.lab.exchange import Reply, Request  # noqa: PLC0415 - as above
    from meshwright.lab.workload import SERVERS  # noqa: PLC0415

    async def answer(request: Request, protocol: str) -> Reply:
        return Reply(node=name, protocol=protocol, service=request.authority, path=request.path)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{name}\n".encode())
        await reader.read()
        writer.close()

    kept: list[Any] = []
    for port, protocol in ports.items():
        if protocol in SERVERS:
            kept.append(SERVERS[protocol](answer))
            await kept[-1].start(host, int(port))
        else:
            context = _server_context() if protocol == "tls" else None
            kept.append(await asyncio.start_server(greet, host, int(port), ssl=context))
    await _stay()


async def _stay() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def _server_context() -> ssl.SSLContext:
    from envoy_check import credentials  # noqa: PLC0415 - needs what clients do not

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        for file, content in credentials().items():
            Path(folder, file).write_bytes(content)
        context.load_cert_chain(Path(folder, "chain.pem"), Path(folder, "key.pem"))
    return context


def asked(task: dict[str, Any]) -> Any:
    """What a client gets; the name of the error where it gets nothing."""
    try:
        match task:
            case {"http": str(url)}:
                return _get(url, task.get("host"))
            case {"greeting": [str(host), int(port)]}:
                with socket.create_connection((host, port), _PATIENCE) as connection:
                    return connection.makefile().readline()
            case {"tls": [str(host), int(port), str(name)]}:
                return _greeted_over_tls(host, port, name)
            case {"grpc": [str(host), int(port), str(path)]}:
                return asyncio.run(_call(host, port, path))
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    raise ValueError(task)


def _get(url: str, host: str | None) -> tuple[int, str]:
    """The status and the body's `node`, or the body itself where no application wrote it."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PATIENCE)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}".rstrip("?"), headers={"Host": host} if host else {})
        answer = connection.getresponse()
        body = answer.read().decode()
    finally:
        connection.close()
    try:
        said = json.loads(body)
        return answer.status, f"{said['node']} {said['path']} {said['service']}"
    except ValueError:
        return answer.status, body


def _greeted_over_tls(host: str, port: int, name: str) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, port), _PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=name) as encrypted,
    ):
        return encrypted.makefile().readline()


async def _call(host: str, port: int, path: str) -> tuple[int, str]:
    from meshwright.lab import grpcs  # noqa: PLC0415 - HTTP clients start without it
    from meshwright.lab.exchange import Request  # noqa: PLC0415

    reply = await grpcs.call(host, port, Request(authority=f"{host}:{port}", path=path))
    return reply.status, f"{reply.node} {reply.path}" if reply.node else reply.fault


def _main(what: dict[str, Any]) -> None:
    if "names" in what:
        asyncio.run(answer_names(what["host"], what["names"]))
    elif "application" in what:
        asyncio.run(be_application(what["application"], what["host"], what["ports"]))
    else:
        sys.stdout.write(json.dumps([asked(task) for task in what["ask"] for _ in range(task.get("times", 1))]))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
