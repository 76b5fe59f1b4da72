"""Responses as bytes for the wire.

The one rule: a resource's bytes are never built again. Responses are joined from ready bodies, and one response to
many subscribers is joined once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from meshwright.snapshot.messages import TYPE_URL_PREFIX, field, message, serialized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshwright.ads.stream import Response
    from meshwright.snapshot.resources import EnvoyResource

_WRAPPER = f"{TYPE_URL_PREFIX}envoy.service.discovery.v3.Resource"
_KEPT = 64
"""Joined responses that are kept for the next subscriber."""
_LONGEST_LIFETIME = (2**31 - 1) * 1000
"""Milliseconds that Envoy's timers can wait, 68 years; it rejects what is told to live for more than 292.

Source: https://github.com/envoyproxy/envoy/blob/main/source/common/event/timer_impl.cc
"""


class Encoder:
    """Responses as bytes; the part that all subscribers share is joined once and kept for a while.

    What expires is joined for each subscriber, because the time that it has to live is counted from its arrival.
    """

    def __init__(self, now: Callable[[], int], *, delta: bool) -> None:
        """`now` answers with milliseconds since the epoch, UTC."""
        self._now = now
        self._delta = delta
        self._kept: OrderedDict[object, bytes] = OrderedDict()

    def __call__(self, response: Response) -> bytes:
        """The `DeltaDiscoveryResponse` or `DiscoveryResponse`."""
        return self._shared(response) + field(5, response.nonce.encode())

    def _shared(self, response: Response) -> bytes:
        if any(one.expires_at for one in response.resources):
            return b"".join(self._fields(response))
        named = tuple((one.name, one.version) for one in response.resources)
        key = (response.type_url, response.version, named, response.removed)
        shared = self._kept.get(key)
        if shared is None:
            shared = self._kept[key] = b"".join(self._fields(response))
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return shared

    def _fields(self, response: Response) -> Iterable[bytes]:
        if response.version:
            yield field(1, response.version.encode())
        for one in response.resources:
            yield field(2, self._resource(one))
        yield field(4, response.type_url.encode())
        for name in response.removed:
            yield field(6, name.encode())

    def _resource(self, resource: EnvoyResource) -> bytes:
        """In state of the world only what expires is wrapped, as the protocol allows and no client need expect."""
        if not (self._delta or resource.expires_at):
            return _any(resource)
        wrapped = b"".join(
            (
                field(1, resource.version.encode()),
                field(2, _any(resource)),
                field(3, resource.name.encode()),
                field(6, _lifetime(resource.expires_at - self._now())) if resource.expires_at else b"",
            )
        )
        return wrapped if self._delta else field(1, _WRAPPER.encode()) + field(2, wrapped)


def _lifetime(milliseconds: int) -> bytes:
    """A `google.protobuf.Duration`; of what has just expired, the shortest, since zero would mean for ever."""
    seconds, rest = divmod(min(max(milliseconds, 1), _LONGEST_LIFETIME), 1000)
    return serialized(message("google.protobuf.Duration")(seconds=seconds, nanos=rest * 1_000_000))


def _any(resource: EnvoyResource) -> bytes:
    return field(1, resource.type_url.encode()) + field(2, resource.body)
