"""What proxies told of one call, among all that a rig's collector heard: of a trace, or of a TCP connection's ports.

The one rule: what belongs to no trace is told apart by when it was written and from which port.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from meshwright.lab.collector import Record, Trace
from meshwright.lab.outside import NAME as OUTSIDE
from meshwright.trials.spans import traced

if TYPE_CHECKING:
    from meshwright.lab.collector import Collector
    from meshwright.lab.rig import Sent


def all_told(collector: Collector, sent: Sent) -> bool:
    """Whether everything that is sure to be said of a call was said."""
    reply, told = sent.reply, told_of(collector, sent)
    # A proxy that knows nobody whom a TCP connection is for closes it, and says nothing.
    if not sent.taken or (sent.call.protocol == "tcp" and not sent.attempts):
        return True
    answered = {one.node.path for one in sent.attempts if one.instance == reply.instance != OUTSIDE}
    if not answered | {sent.at.path} <= {one.proxy for one in told.records}:
        return False
    if not traced(sent.call):
        return True
    # A record for each request that a proxy took or made, and a span with it where there was a route.
    routed = Counter(one.proxy for one in told.records if one.attributes.get("meshwright.route", "-") != "-")
    return routed <= Counter(one.proxy for one in told.spans)


def trace_of(sent: Sent) -> str:
    """The trace under which what proxies say of a call is kept: that of TCP connections belongs to none."""
    return "" if sent.call.protocol == "tcp" else sent.trace


def told_of(collector: Collector, sent: Sent) -> Trace:
    """What is known of a call: its trace, or of a TCP connection the records from its caller's port on."""
    if trace_of(sent):
        return collector.trace(sent.trace)
    # Ports come around again: only what was written while it was under way.
    began = sent.began_at + time.time() - time.monotonic()
    near = [one for one in collector.trace("").records if -1 < one.at - began < sent.seconds + 1]
    found, port = list[Record](), str(sent.reply.port)
    while port.isdecimal():
        following = [one for one in near if one.attributes.get("client.port") == port and one not in found]
        found += following
        port = following[0].attributes.get("upstream.local_port", "-") if following else "-"
    return Trace(records=found)
