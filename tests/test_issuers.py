"""Issuers' keys: fetched from where the operator said, as seldom as can be, and kept through outages."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from issuing import NOW, PrivateKey, key_set, private_key, public, token
from meshwright.issuers import Issuers, IssuerUnavailableError, Limits
from meshwright.trust.settings import Issuer
from meshwright.trust.tokens import TokenError, UnknownKeyError, read_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

DOCUMENT = "/.well-known/openid-configuration"


class Provider:
    """An issuer on a real socket whose answers a test chooses; `asked` is every path in order."""

    def __init__(self, *keys: PrivateKey) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.keys: bytes = key_set(*(keys or (private_key(),)))
        self.document: dict[str, Any] = {}
        self.headers = ""
        self.status = "200 OK"
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Provider]:
        """Listen until the block ends."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=tls)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://{host}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            self.gate.set()
            server.close()
            await server.wait_closed()

    def issuer(self, **members: Any) -> Issuer:
        """As an operator would declare it."""
        return Issuer(**{"url": self.url, "audiences": ("meshwright",), **members})

    def token(self, key: PrivateKey | None = None, **claims: Any) -> str:
        """A token of this issuer."""
        return token(key, **{"iss": self.url, **claims})

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            self.asked.append(path)
            self.began.set()
            await self.gate.wait()
            usual = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            body = json.dumps({**usual, **self.document}).encode() if path == DOCUMENT else self.keys
            told = f"HTTP/1.1 {self.status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{self.headers}\r\n"
            writer.write(told.encode() + body)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """An issuer with one key."""
    async with Provider().serving() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    """Stands still."""
    return Clock()


@pytest.fixture
async def issuers(clock: Clock) -> AsyncIterator[Issuers]:
    """With a clock of the test's."""
    found = Issuers(clock=clock, limits=Limits(patience=20.0))
    yield found
    await found.close()


async def unavailable(asking: Awaitable[object]) -> str:
    """Why keys cannot be had."""
    with pytest.raises(IssuerUnavailableError) as caught:
        await asking
    return str(caught.value)


async def test_keys_are_found_by_discovery_and_kept(provider: Provider, issuers: Issuers) -> None:
    """One fetch for however many tokens, however many come at once."""
    parsed, issuer = read_token(provider.token()), provider.issuer()
    found = await asyncio.gather(*(issuers.verify(parsed, issuer, NOW) for _ in range(50)))
    assert all(claims["repository"] == "acme/cart" for claims in found)
    await issuers.verify(parsed, issuer, NOW)
    assert provider.asked == [DOCUMENT, "/keys"]


async def test_a_declared_address_needs_no_discovery(provider: Provider, issuers: Issuers) -> None:
    """The `jwks_url` of the trust file."""
    await issuers.keys(provider.issuer(jwks_url=f"{provider.url}/elsewhere"))
    assert provider.asked == ["/elsewhere"]


async def test_an_issuer_with_a_path_has_its_document_below_it(provider: Provider, issuers: Issuers) -> None:
    """As several CI services do; the last slash is part of the name and not of the place."""
    for path in ("/org/acme", "/org/acme/"):
        await unavailable(issuers.keys(provider.issuer(url=provider.url + path)))
        assert provider.asked[-1] == f"/org/acme{DOCUMENT}"


@pytest.mark.parametrize(
    ("control", "seconds"),
    [
        ("", 600),
        ("max-age=300", 300),
        ("public, max-age=120, must-revalidate", 120),
        ("max-age=0", 60),
        ("max-age=9", 60),
        ("max-age=999999999", 3600),
        ("no-store, max-age=900", 60),
        ("max-age=x", 600),
    ],
)
async def test_how_long_keys_are_fresh_is_the_issuers_choice_within_bounds(
    provider: Provider, issuers: Issuers, clock: Clock, control: str, seconds: int
) -> None:
    """By its Cache-Control."""
    provider.headers = f"cache-control: {control}\r\n" if control else ""
    await issuers.keys(provider.issuer())
    clock.now += seconds - 1
    await issuers.keys(provider.issuer())
    assert len(provider.asked) == 2
    clock.now += 1
    await issuers.keys(provider.issuer())
    assert len(provider.asked) == 4


async def test_a_new_key_is_found_and_the_old_one_forgotten(
    provider: Provider, issuers: Issuers, clock: Clock
) -> None:
    """Rotation: the first token of the new key has the set fetched."""
    issuer = provider.issuer()
    await issuers.verify(read_token(provider.token()), issuer, NOW)
    rotated = private_key("RS256", "rotated")
    provider.keys = key_set(rotated)
    clock.now += 30
    assert await issuers.verify(read_token(provider.token(rotated)), issuer, NOW)
    assert len(provider.asked) == 4
    with pytest.raises(UnknownKeyError):
        await issuers.verify(read_token(provider.token()), issuer, NOW)


async def test_tokens_with_made_up_keys_do_not_make_us_ask(
    provider: Provider, issuers: Issuers, clock: Clock
) -> None:
    """Hundreds at once or one after the other: one refresh in 30 seconds."""
    issuer = provider.issuer()
    await issuers.keys(issuer)
    clock.now += 30
    made_up = [read_token(provider.token(header={"kid": f"k{number}"})) for number in range(100)]
    found = await asyncio.gather(*(issuers.verify(one, issuer, NOW) for one in made_up), return_exceptions=True)
    assert all(isinstance(one, UnknownKeyError) for one in found)
    for one in made_up[:20]:
        with pytest.raises(UnknownKeyError):
            await issuers.verify(one, issuer, NOW)
    assert len(provider.asked) == 4
    clock.now += 30
    with pytest.raises(UnknownKeyError):
        await issuers.verify(made_up[0], issuer, NOW)
    assert len(provider.asked) == 6


async def test_an_outage_while_a_new_key_is_looked_for_is_told(
    provider: Provider, issuers: Issuers, clock: Clock
) -> None:
    """The key may be there: that it is unknown is no verdict, neither now nor while nothing is asked again."""
    issuer, parsed = provider.issuer(), read_token(provider.token(private_key("RS256", "rotated")))
    await issuers.keys(issuer)
    provider.status = "503 Service Unavailable"
    clock.now += 30
    for _ in range(2):
        assert "could not be reached to look for the key" in await unavailable(issuers.verify(parsed, issuer, NOW))
    assert len(provider.asked) == 3
    assert await issuers.verify(read_token(provider.token()), issuer, NOW)
    provider.status = "200 OK"
    clock.now += 30
    with pytest.raises(UnknownKeyError):
        await issuers.verify(parsed, issuer, NOW)


async def test_a_token_that_is_wrong_in_another_way_does_not_make_us_ask(
    provider: Provider, issuers: Issuers, clock: Clock
) -> None:
    """Only an unknown key does."""
    issuer = provider.issuer()
    await issuers.keys(issuer)
    clock.now += 300
    evil = private_key("RS256", "evil")
    for text in (
        provider.token(aud="other"),
        provider.token(exp=1),
        provider.token(evil, header={"kid": private_key().kid}),
    ):
        with pytest.raises(TokenError):
            await issuers.verify(read_token(text), issuer, NOW)
    assert len(provider.asked) == 2


async def test_an_outage_at_first_use_is_told_and_not_repeated_at_once(
    provider: Provider, issuers: Issuers, clock: Clock
) -> None:
    """Who asks meanwhile gets the same answer without a request; later it heals."""
    issuer = provider.issuer()
    provider.status = "503 Service Unavailable"
    for _ in range(3):
        assert "HTTP 503" in await unavailable(issuers.keys(issuer))
    assert len(provider.asked) == 1
    provider.status = "200 OK"
    clock.now += 5
    assert (await issuers.keys(issuer)).keys


async def test_keys_outlive_an_outage_for_some_hours(
    provider: Provider, issuers: Issuers, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator reads of it in the log; after the limit nobody is believed any more."""
    issuer, parsed = provider.issuer(), read_token(provider.token())
    began = clock.now
    await issuers.verify(parsed, issuer, NOW)
    provider.status = "500 Oops"
    clock.now = began + 601
    assert await issuers.verify(parsed, issuer, NOW)
    assert "HTTP 500" in caplog.text
    assert "keys of 601 s ago are kept" in caplog.text
    clock.now = began + 4 * 3600 - 1
    assert await issuers.verify(parsed, issuer, NOW)
    clock.now = began + 4 * 3600
    assert "HTTP 500" in await unavailable(issuers.verify(parsed, issuer, NOW))


async def test_in_an_outage_that_hangs_nobody_waits_but_the_first(
    provider: Provider, issuers: Issuers, clock: Clock
) -> None:
    """What is kept is used while the issuer is asked again behind it."""
    issuer, parsed = provider.issuer(), read_token(provider.token())
    await issuers.verify(parsed, issuer, NOW)
    provider.status = "500 Oops"
    clock.now += 601
    await issuers.verify(parsed, issuer, NOW)
    provider.gate.clear()
    provider.began.clear()
    clock.now += 10
    async with asyncio.timeout(10.0):  # the issuer's answer would never come
        await issuers.verify(parsed, issuer, NOW)
    await provider.began.wait()


async def test_a_caller_that_goes_away_does_not_spoil_it_for_the_others(provider: Provider, issuers: Issuers) -> None:
    """The fetch that it began goes on."""
    provider.gate.clear()
    first = asyncio.create_task(issuers.keys(provider.issuer()))
    await provider.began.wait()
    second = asyncio.create_task(issuers.keys(provider.issuer()))
    first.cancel()
    provider.gate.set()
    assert (await second).keys
    assert provider.asked == [DOCUMENT, "/keys"]


async def test_an_answer_that_does_not_end_is_given_up(provider: Provider, clock: Clock) -> None:
    """After the time that discovery and key set have together."""
    provider.gate.clear()
    asking = Issuers(clock=clock, limits=Limits(patience=0.5))
    assert "no whole answer within 0.5 s" in await unavailable(asking.keys(provider.issuer()))


@pytest.mark.parametrize("path", [DOCUMENT, "/keys"])
async def test_an_answer_that_is_huge_is_not_read(provider: Provider, issuers: Issuers, path: str) -> None:
    """Only up to the limit."""
    if path == DOCUMENT:
        provider.document = {"padding": "x" * (64 << 10)}
    else:
        provider.keys = b'{"keys":[' + b" " * (256 << 10) + b"]}"
    assert f"{path} answered with more than" in await unavailable(issuers.keys(provider.issuer()))


async def test_redirects_and_compression_are_not_followed(provider: Provider, issuers: Issuers, clock: Clock) -> None:
    """A redirect could lead anywhere, a small body grow to any size."""
    provider.status, provider.headers = "302 Found", "location: http://127.0.0.1:1/\r\n"
    assert "redirects are not followed" in await unavailable(issuers.keys(provider.issuer()))
    provider.status, provider.headers = "200 OK", "content-encoding: gzip\r\n"
    clock.now += 5
    assert "compressed" in await unavailable(issuers.keys(provider.issuer()))


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": 5},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://169.254.169.254/latest/meta-data"},
        {"jwks_uri": "https://169.254.169.254/keys"},
        {"jwks_uri": "https://10.0.0.1/keys"},
        {"jwks_uri": "https://[::ffff:10.0.0.1]/keys"},
        {"jwks_uri": "http://keys.example/"},
        {"jwks_uri": "https://user@keys.example/"},
        {"jwks_uri": "https://"},
        {"jwks_uri": "keys"},
        {"jwks_uri": "https://[bad/keys"},
    ],
    ids=str,
)
async def test_a_document_that_is_not_the_issuers_or_leads_inside_is_refused(
    provider: Provider, issuers: Issuers, document: dict[str, Any]
) -> None:
    """Nothing further is asked for."""
    provider.document = document
    await unavailable(issuers.keys(provider.issuer()))
    assert provider.asked == [DOCUMENT]


@pytest.mark.parametrize(
    "keys",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"keys":[]}',
        json.dumps({"keys": [private_key().as_dict(private=True)]}).encode(),
        json.dumps({"keys": [public(private_key()), {"kty": "oct", "k": "c2VjcmV0"}]}).encode(),
        json.dumps({"keys": [public(private_key(), use="enc")]}).encode(),
    ],
    ids=["nothing", "a page", "a list", "no keys", "private", "symmetric", "unfit"],
)
async def test_a_key_set_that_gives_nothing_to_trust_is_an_outage(
    provider: Provider, issuers: Issuers, clock: Clock, keys: bytes
) -> None:
    """And does not replace the keys that are kept."""
    provider.keys, right = keys, provider.keys
    await unavailable(issuers.keys(provider.issuer()))
    provider.keys = right
    clock.now += 5
    good = await issuers.keys(provider.issuer())
    provider.keys = keys
    clock.now += 600
    assert await issuers.keys(provider.issuer()) is good


async def test_plain_http_is_for_this_machine_only(issuers: Issuers) -> None:
    """And no request is made to find out."""
    for url in ("http://ci.example", "http://10.0.0.1", "https://user@ci.example"):
        told = await unavailable(issuers.keys(Issuer(url=url, audiences=("m",))))
        assert "is not https://" in told
    declared = Issuer(url="https://ci.example", audiences=("m",), jwks_url="http://ci.example/keys")
    assert "is not https://" in await unavailable(issuers.keys(declared))


async def test_the_environments_proxies_and_credentials_are_not_used(
    provider: Provider, issuers: Issuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests go to the issuer itself."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await issuers.keys(provider.issuer())).keys


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A private CA's certificate file, and a server's context with a certificate for 127.0.0.1 that it signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an inner CA")])
    today = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "ca.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file, private)
    return file, context


async def test_a_private_ca_vouches_where_it_was_declared(issuers: Issuers, clock: Clock, tmp_path: Path) -> None:
    """Over HTTPS; without it, or under another name, the server is not believed."""
    file, context = authority(tmp_path)
    async with Provider().serving(context) as provider:
        assert (await issuers.keys(provider.issuer(ca_file=str(file)))).keys
        assert "CERTIFICATE_VERIFY_FAILED" in await unavailable(issuers.keys(provider.issuer()))
        assert "No such file" in await unavailable(issuers.keys(provider.issuer(ca_file=str(tmp_path / "none"))))
    async with Provider().serving(context, host="localhost") as provider:
        assert "CERTIFICATE_VERIFY_FAILED" in await unavailable(issuers.keys(provider.issuer(ca_file=str(file))))


async def test_a_server_that_is_none_is_an_outage(clock: Clock) -> None:
    """It may hang up, or speak something else."""
    replies: list[Callable[[], bytes]] = [lambda: b"", lambda: b"SSH-2.0-x\r\n", lambda: b"HTTP/1.1 200 OK\r\n"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(replies[0]())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    asking = Issuers(clock=clock, limits=Limits(patience=20.0))
    while replies:
        assert "cannot be had" in await unavailable(asking.keys(Issuer(url=url, audiences=("m",))))
        replies.pop(0)
        clock.now += 5
    server.close()
    await server.wait_closed()
    assert "cannot be had" in await unavailable(asking.keys(Issuer(url=url, audiences=("m",))))
    await asking.close()
