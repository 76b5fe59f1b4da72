"""What protects a server: certificates, who may connect over xDS, and what must be said to go without.

The one rule: the flags that give protection up begin with `--insecure` and say what is given up.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshwright.certificates import TlsFiles
    from meshwright.listening import Address

Command = TypeVar("Command", bound="Callable[..., Any]")

_FILE = click.Path(path_type=Path)


def protection_options(command: Command) -> Command:
    """Add the options to a command."""
    for add in reversed(_options()):
        command = add(command)
    return command


def settled(given: Mapping[str, Any]) -> dict[str, Any]:
    """The members of `server.Settings` that the options' values mean.

    Raises:
        UsageError: they cannot mean anything.
    """
    tls = _tls("--tls", given["tls_certificate"], given["tls_key"])
    own = _tls("--xds-tls", given["xds_tls_certificate"], given["xds_tls_key"])
    return {
        "tls": tls,
        "xds_tls": _xds_tls(own or tls, given["xds_client_ca"]),
        "xds_mutual": _mutual(given["xds_mutual"], given["xds_client_ca"]),
        "xds_sockets": tuple(_socket(one) for one in given["xds_sockets"]),
        "envoys_per_node": given["xds_envoys_per_node"],
        "report_seconds": given["xds_report_seconds"],
        "xds_without_authentication": given["insecure_xds_without_authentication"],
        "beyond_loopback": given["insecure_listen_beyond_loopback"],
    }


def address(option: str, text: str) -> Address:
    """The host and port that `option` was given.

    Raises:
        UsageError: `text` is not HOST:PORT.
    """
    host, separator, port = text.rpartition(":")
    if not (separator and host and re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 65_536):
        raise UsageError(f"{option} {text!r} is no address; write HOST:PORT, such as 127.0.0.1:9080")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _options() -> tuple[Any, ...]:
    return (*_certificates(), *_proxies(), *_exposures())


def _certificates() -> tuple[Any, ...]:
    """What the server proves itself with."""
    return (
        click.option(
            "--tls-certificate",
            type=_FILE,
            envvar="MESHWRIGHT_TLS_CERTIFICATE",
            metavar="FILE",
            help="Speak TLS, API and xDS, with this certificate chain; read again when it changes.",
        ),
        click.option(
            "--tls-key",
            type=_FILE,
            envvar="MESHWRIGHT_TLS_KEY",
            metavar="FILE",
            help="Its private key, not encrypted, mode 0600.",
        ),
        click.option("--xds-tls-certificate", type=_FILE, metavar="FILE", help="Another certificate for xDS."),
        click.option("--xds-tls-key", type=_FILE, metavar="FILE", help="Its private key."),
    )


def _proxies() -> tuple[Any, ...]:
    """How Envoys prove themselves, and how many may come."""
    return (
        click.option(
            "--xds-client-ca",
            type=_FILE,
            metavar="FILE",
            help="Take client certificates that these issue: the URI in one is the ARN of its node.",
        ),
        click.option(
            "--xds-mutual",
            metavar="HOST:PORT",
            help="Ask for client certificates here only [default: on --xds, of every Envoy].",
        ),
        click.option(
            "--xds-socket",
            "xds_sockets",
            multiple=True,
            metavar="ARN=PATH",
            help="Serve one node on a Unix socket of mode 0600; may be repeated.",
        ),
        click.option(
            "--xds-envoys-per-node",
            type=click.IntRange(1),
            default=50,
            show_default=True,
            help="How many Envoys of one virtual node or gateway may be connected.",
        ),
        click.option(
            "--xds-report-seconds",
            type=click.FloatRange(0.5, 300),
            default=5,
            show_default=True,
            help="Between two reports of every Envoy on whom it called.",
        ),
    )


def _exposures() -> tuple[Any, ...]:
    """What gives protection up."""
    return (
        click.option(
            "--insecure-xds-without-authentication",
            is_flag=True,
            help="Let anybody who reaches xDS be any node's proxy.",
        ),
        click.option(
            "--insecure-listen-beyond-loopback",
            is_flag=True,
            help="Serve other machines although there is no TLS, or Envoys need not say who they are.",
        ),
    )


def _tls(option: str, certificate: Path | None, key: Path | None) -> TlsFiles | None:
    from meshwright.certificates import TlsFiles

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        lacking = "certificate" if certificate is None else "key"
        raise UsageError(f"{option}-certificate and {option}-key belong together: {option}-{lacking} is missing")
    return TlsFiles(certificate=certificate, key=key)


def _xds_tls(files: TlsFiles | None, authorities: Path | None) -> TlsFiles | None:
    import msgspec

    if authorities is None:
        return files
    if files is None:
        raise UsageError("--xds-client-ca needs TLS: give --tls-certificate and --tls-key as well")
    return msgspec.structs.replace(files, authorities=authorities)


def _mutual(text: str | None, authorities: Path | None) -> Address | None:
    if text is None:
        return None
    if authorities is None:
        raise UsageError("--xds-mutual needs --xds-client-ca, the certificates that issue those of the Envoys")
    return address("--xds-mutual", text)


def _socket(text: str) -> tuple[str, Path]:
    from meshwright.model.identity import Kind, parse_key

    node, _, path = text.partition("=")
    try:
        kind = parse_key(node).kind
    except ValueError:
        kind = Kind.MESH
    if kind not in {Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY} or not path:
        raise UsageError(
            f"--xds-socket {text!r} is not of the form ARN=PATH, with the ARN of a virtual node or gateway, or a "
            "path such as mesh/shop/virtualNode/cart"
        )
    return node, Path(path)
