"""Real Envoys for tests: the packaged binary, its bootstrap as `meshwright proxy` writes it, and small upstreams."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from meshwright.proxy.bootstrap import XDS_CLUSTER, Address, Settings, address, bootstrap
from meshwright.proxy.run import envoy_path
from meshwright.snapshot.resources import Loopback, Placement, Redirect
from processes import DEADLINE

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

    from meshwright.model.identity import Key
    from meshwright.proxy.bootstrap import KeyFile, Tls
    from meshwright.proxy.settings import Registered


class Envoy:
    """A running Envoy."""

    def __init__(self, process: asyncio.subprocess.Process, admin: int, log: Path, bootstrap: Any) -> None:
        self.process = process
        self.bootstrap = bootstrap
        self.admin = admin
        self.log = log

    async def ask(self, path: str) -> str:
        """The body of `GET path` on the administration interface."""
        return (await fetch("127.0.0.1", self.admin, path))[1]

    async def stats(self, prefix: str) -> dict[str, int]:
        """The counters and gauges whose names begin with `prefix`."""
        lines = (await self.ask(f"/stats?filter=^{prefix}")).splitlines()
        pairs = (line.split(": ") for line in lines)
        return {name: int(value) for name, value in pairs if value.isdecimal()}


@contextlib.asynccontextmanager
async def envoy(
    folder: Path,
    node: Key,
    xds: int | str,
    *,
    delta: bool = True,
    instance: str = "one",
    placement: Placement | None = None,
    credentials: KeyFile | None = None,
    tls: Tls | None = None,
    resolver: Address | None = None,
    zone: str = "",
    endpoint: Registered | None = None,
    separate: bool = False,
) -> AsyncIterator[Envoy]:
    """One Envoy for `node`, stopped on leaving; `xds` is a port of this machine or an address.

    One that is `separate` asks for each type at that type's own service, and has no ADS.
    """
    settings = Settings(
        proxy=node,
        instance=instance,
        xds=address(xds) if isinstance(xds, str) else Address("127.0.0.1", xds),
        admin=Address("127.0.0.1", 1),
        placement=placement or Redirect(),
        credentials=credentials,
        tls=tls,
        resolver=resolver,
        zone=zone,
        endpoint=endpoint,
    )
    document: Any = bootstrap(settings)
    document["admin"]["address"]["socket_address"]["port_value"] = 0
    if not delta:
        document["dynamic_resources"]["ads_config"]["api_type"] = "GRPC"
    if separate:
        _separate(document, delta=delta)
    (folder / f"{instance}.json").write_text(json.dumps(document))
    where, log = folder / f"{instance}.admin", folder / f"{instance}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            str(envoy_path()), "-c", str(folder / f"{instance}.json"), "--use-dynamic-base-id", "--concurrency", "1",
            "--admin-address-path", str(where), "-l", "info", "--drain-time-s", "1", stdout=out, stderr=out,
        )  # fmt: skip
    try:
        await until(lambda: where.exists() and ":" in where.read_text(), f"{log}")
        yield Envoy(process, int(where.read_text().rpartition(":")[2]), log, document)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _separate(document: Any, *, delta: bool) -> None:
    dynamic = document["dynamic_resources"]
    source = {"api_config_source": dynamic.pop("ads_config"), "resource_api_version": "V3"}
    dynamic["cds_config"] = dynamic["lds_config"] = source
    document["layered_runtime"]["layers"][1]["rtds_layer"]["rtds_config"] = source
    document["node"]["metadata"]["meshwright"]["separate"] = {"cluster": XDS_CLUSTER, "delta": delta}


async def until(holds: Any, what: str = "", seconds: float = DEADLINE) -> None:
    """Wait until `holds()` is true, asking often; fails with `what` when it never is."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert asyncio.get_running_loop().time() < deadline, f"never came true: {what}"
        await asyncio.sleep(0.005)


async def fetch(
    host: str,
    port: int,
    path: str = "/",
    authority: str = "test",
    method: str = "GET",
    context: ssl.SSLContext | None = None,
) -> tuple[int, str]:
    """Status and body of one HTTP/1.1 request; status 0 when nothing listens, or the connection or its TLS breaks."""
    try:
        name = authority if context else None
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    except OSError:
        return 0, ""
    try:
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
    except (OSError, asyncio.IncompleteReadError):
        return 0, ""
    finally:
        writer.close()
    if b"transfer-encoding: chunked" in head.lower():
        body = _unchunked(body)
    return int(head.split()[1]), body.decode()


def _unchunked(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        out += rest[:length]
        body = rest[length + 2 :]
    return out


@contextlib.asynccontextmanager
async def upstream(word: str, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """An HTTP server that answers everything with `word`; the port."""
    open_: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(word)}\r\n\r\n{word}".encode())
                await writer.drain()
        writer.close()
        open_.discard(writer)

    server = await asyncio.start_server(answer, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(open_):
            writer.close()
        await until(lambda: not open_, "connections end")


__all__ = ["Envoy", "Loopback", "envoy", "fetch", "until", "upstream"]
