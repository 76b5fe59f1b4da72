"""Envoy's messages: a private pool, loaded lazily, that speaks what the real Envoy speaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from meshwright.snapshot import messages
from meshwright.snapshot.messages import message
from meshwright.snapshot.resources import CLUSTER, PUSH_ORDER

EXTENSIONS = (
    "envoy.service.discovery.v3.DeltaDiscoveryRequest",
    "envoy.service.discovery.v3.DiscoveryRequest",
    "envoy.config.bootstrap.v3.Bootstrap",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig",
    "google.rpc.Status",
)


@pytest.mark.parametrize("name", [*EXTENSIONS, *(url.rpartition("/")[2] for url in PUSH_ORDER)])
def test_every_message_that_we_speak_is_there(name: str) -> None:
    """A message can be made, serialised and read back."""
    value = message(name)()
    assert message(name).FromString(messages.serialized(value)) == value


def test_a_message_survives_packing_with_nested_values() -> None:
    """Dictionaries become nested messages, and `Any` brings them back."""
    cluster = message("envoy.config.cluster.v3.Cluster")(
        name="a", connect_timeout={"seconds": 1}, type="STRICT_DNS", dns_lookup_family="V4_ONLY"
    )
    wrapped = messages.packed(cluster)
    assert wrapped.type_url == CLUSTER
    assert messages.unpacked(wrapped) == cluster
    assert messages.as_dict(cluster)["connect_timeout"] == "1s"


def test_maps_serialise_in_one_order() -> None:
    """Insertion order of a map does not reach the bytes."""
    struct = message("google.protobuf.Struct")
    one = struct(fields={"b": {"string_value": "2"}, "a": {"string_value": "1"}})
    two = struct(fields={"a": {"string_value": "1"}, "b": {"string_value": "2"}})
    assert messages.serialized(one) == messages.serialized(two)


def test_unlisted_messages_are_refused_by_name() -> None:
    """A message that the generator does not list is named in the error."""
    with pytest.raises(KeyError, match="NoSuchMessage"):
        message("envoy.NoSuchMessage")


def test_the_default_pool_stays_untouched_and_import_loads_nothing() -> None:
    """Importing reads no descriptors; using them registers nothing globally."""
    code = (
        "from meshwright.snapshot import messages as m\n"
        "assert m.pool.cache_info().currsize == 0\n"
        "m.message('envoy.config.cluster.v3.Cluster')()\n"
        "from google.protobuf.descriptor_pool import Default\n"
        "try:\n"
        "    Default().FindMessageTypeByName('envoy.config.cluster.v3.Cluster')\n"
        "except KeyError:\n"
        "    print('private')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "private\n"
