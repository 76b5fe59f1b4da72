"""TLS of the xDS ports: gRPC asks at each handshake which certificate is in use.

The one rule: what a handshake sees was read and judged before (`certificates`); nothing is read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import grpc

if TYPE_CHECKING:
    from meshwright.certificates import Watched


def credentials(watched: Watched, *, clients: bool = False) -> grpc.ServerCredentials:
    """TLS 1.2 or newer with the newest pair; with `clients`, nobody connects without a certificate of `watched`'s.

    Source: https://grpc.github.io/grpc/python/grpc.html#grpc.dynamic_ssl_server_credentials
    """
    known = watched.version

    # None, for no change, is documented; grpc-stubs does not know it.
    def configuration() -> grpc.ServerCertificateConfiguration:
        bundle = watched.bundle if clients else None
        return grpc.ssl_server_certificate_configuration([(watched.pair.key, watched.pair.chain)], bundle)

    def newer() -> grpc.ServerCertificateConfiguration | None:
        nonlocal known
        version = watched.version
        if version == known:
            return None
        known = version
        return configuration()

    return grpc.dynamic_ssl_server_credentials(
        configuration(), cast("Any", newer), require_client_authentication=clients
    )
