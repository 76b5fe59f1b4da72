"""What proxies report to a rig, and who waits for it."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import grpc

from meshwright.lab.collector import Collector, collector
from meshwright.snapshot.messages import message

_LOGS = "opentelemetry.proto.collector.logs.v1"
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def exported(kept: Collector, *traces: str) -> None:
    """A proxy reports a record of each of these traces; of "", what belongs to none."""
    request: Any = message(f"{_LOGS}.ExportLogsServiceRequest")()
    logs = request.resource_logs.add().instrumentation_library_logs.add()
    for one in traces:
        logs.logs.add(trace_id=bytes.fromhex(one)).body.string_value = "GET /"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{kept.port}") as channel:
        export: Any = channel.unary_unary(
            f"/{_LOGS}.LogsService/Export",
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=message(f"{_LOGS}.ExportLogsServiceResponse").FromString,
        )
        await export(request, timeout=60)


async def test_nobody_waits_for_the_spans_of_calls_that_have_none() -> None:
    """Of TCP no span is due, and none comes."""
    async with collector() as kept:
        waiting = asyncio.create_task(kept.heard((), 600))
        done, _ = await asyncio.wait({waiting}, timeout=60)
        assert done == {waiting}


async def test_several_wait_for_the_same_trace_and_each_goes_on_when_it_has_seen_enough() -> None:
    """And for what belongs to no trace, which is looked at as it comes."""
    async with collector() as kept:
        one, two, none = (
            asyncio.create_task(kept.heard([(name, functools.partial(seen, kept, name, many))], 600))
            for name, many in ((TRACE, 1), (TRACE, 2), ("", 1))
        )
        await asyncio.sleep(0)
        await exported(kept, TRACE)
        done, _ = await asyncio.wait({one}, timeout=60)
        assert (done, two.done(), none.done()) == ({one}, False, False)
        await exported(kept, TRACE, "")
        done, _ = await asyncio.wait({two, none}, timeout=60)
        assert done == {two, none}


def seen(kept: Collector, name: str, many: int) -> bool:
    """Whether there are so many records of a trace."""
    return len(kept.trace(name).records) >= many
