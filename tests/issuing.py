"""An OpenID Connect issuer of the tests' own: keys, tokens that it signs, and tokens that an attacker would make."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from meshwright.trust.key_sets import TokenKey, read_key_set
from meshwright.trust.settings import Issuer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from joserfc.jwk import KeyParameters

PrivateKey = RSAKey | ECKey | OKPKey

URL = "https://ci.example"
NOW = 1_800_000_000_000
"""Milliseconds."""
CLAIMS: dict[str, Any] = {
    "iss": URL,
    "aud": "meshwright",
    "sub": "repo:acme/cart:ref:refs/heads/main",
    "iat": NOW // 1000 - 10,
    "exp": NOW // 1000 + 600,
    "repository": "acme/cart",
    "ref": "refs/heads/main",
}
ISSUER = Issuer(url=URL, audiences=("meshwright",))
_VERIFIERS = {"EdDSA": "Ed25519"}


def private_key(algorithm: str = "RS256", name: str = "one") -> PrivateKey:
    """A key made once a test run; another `name`, another key."""
    return _generated(algorithm, name)


@functools.cache
def _generated(algorithm: str, name: str) -> PrivateKey:
    parameters: KeyParameters = {"kid": f"{algorithm}-{name}"}
    match algorithm:
        case "RS256":
            return RSAKey.generate_key(2048, parameters, auto_kid=False)
        case "ES256":
            return ECKey.generate_key("P-256", parameters, auto_kid=False)
        case _:
            return OKPKey.generate_key("Ed25519", parameters, auto_kid=False)


def public(key: PrivateKey, **members: Any) -> dict[str, Any]:
    """Its JWK without what is secret; a member that is None is left out."""
    found = {**key.as_dict(private=False), **members}
    return {name: value for name, value in found.items() if value is not None}


def key_set(*keys: PrivateKey) -> bytes:
    """A JWK set document."""
    return json.dumps({"keys": [public(key) for key in keys]}).encode()


def known(*keys: PrivateKey) -> tuple[TokenKey, ...]:
    """What an issuer with these keys publishes, as it is read."""
    return read_key_set(key_set(*keys)).keys


def encoded(part: bytes | str | dict[str, Any]) -> str:
    """A part of a token; a text or bytes stand as they are."""
    plain = json.dumps(part) if isinstance(part, dict) else part
    content = plain.encode() if isinstance(plain, str) else plain
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def assembled(header: bytes | str | dict[str, Any], payload: bytes | str | dict[str, Any], key: PrivateKey) -> str:
    """A token of exactly this header and payload, signed by `key` in its own algorithm whatever the header says."""
    algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[key.key_type]
    signed = f"{encoded(header)}.{encoded(payload)}"
    mark = JWSRegistry.algorithms[_VERIFIERS.get(algorithm, algorithm)].sign(signed.encode(), key)
    return f"{signed}.{encoded(mark)}"


def token(key: PrivateKey | None = None, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token with `CLAIMS` changed by `claims`; a claim or a header that is None is left out."""
    key = key or private_key()
    algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[key.key_type]
    head = {"alg": algorithm, "typ": "JWT", "kid": key.kid, **(header or {})}
    payload = {**CLAIMS, **claims}
    return assembled(_present(head), _present(payload), key)


def fresh(key: PrivateKey | None = None, **claims: Any) -> str:
    """A token of this moment."""
    now = int(time.time())
    return token(key, **{"iat": now, "exp": now + 600, **claims})


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


class Published:
    """An issuer on a real socket, in a thread; a test may take it down, or turn its keys."""

    def __init__(self, *keys: PrivateKey) -> None:
        self.url = ""
        self.keys = key_set(*(keys or (private_key(),)))
        self.down = False
        self.asked = 0

    def token(self, key: PrivateKey | None = None, **claims: Any) -> str:
        """A token of this moment."""
        return fresh(key, **{"iss": self.url, **claims})


@contextlib.contextmanager
def published(*keys: PrivateKey) -> Iterator[Published]:
    """An issuer with discovery and keys on 127.0.0.1 until the block ends."""
    found = Published(*keys)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked += 1
            document = json.dumps({"issuer": found.url, "jwks_uri": f"{found.url}/keys"}).encode()
            body = document if self.path.endswith("openid-configuration") else found.keys
            self.send_response(503 if found.down else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
