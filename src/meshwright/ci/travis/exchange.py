"""HTTP with Travis CI's API v3: time limits, repetitions, and failures that say what is to be done.

The one rule: only what changes nothing is asked twice; every question has its end, whether the other side hangs or
drips, and the token goes to the endpoint's own host and to no other.
Source: https://developer.travis-ci.com/format
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from meshwright.ci.travis.access import TOKEN
from meshwright.ci.travis.records import Failure
from meshwright.errors import RefusedError, UnreachableError
from meshwright.trust.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshwright.ci.travis.access import Access

_QUOTED = 200
"""Characters of an answer that is none which are told."""


_UNREPEATED = "It is not repeated, because it may have been done: look at the repository's requests first."


class TravisRefusedError(RefusedError):
    """Travis CI understood and refused: `status` is its HTTP status, `code` its name for the error, "" for none."""

    def __init__(self, told: str, status: int, code: str = "") -> None:
        super().__init__(told)
        self.status = status
        self.code = code


class TravisUnavailableError(UnreachableError):
    """Travis CI did not answer, not in time, or with something that is no answer."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a question may take and how often it is repeated; times in seconds, sizes in bytes."""

    patience: float = 30.0
    """For an answer with all repetitions and pauses."""
    silence: float = 10.0
    """Without a byte, after which one attempt has failed."""
    attempts: int = 4
    pause: float = 0.5
    """Before the first repetition; twice as long before each further one."""
    longest_pause: float = 8.0
    """However long the server asks for; where it asks for more, the answer is that it did."""
    body: int = 16 << 20
    """A log has some 4 MB, and as JSON up to three times as much."""
    pages: int = 100
    """Of one list."""


class _Answer(msgspec.Struct, frozen=True):
    status: int
    retry_after: float
    body: bytes


class Exchange:
    """Questions to one API with one token; safe to use from several threads."""

    def __init__(
        self,
        access: Access,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`clock` counts seconds and never goes back."""
        self._access = access
        self.limits = limits or Limits()
        self._clock = clock
        self._sleep = sleep
        headers = {
            "Travis-API-Version": "3",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "meshwright",
        }
        if access.token:
            headers["Authorization"] = f"token {access.token}"
        self._client = httpx.Client(
            headers=headers,
            timeout=self.limits.silence,
            follow_redirects=False,
            # A proxy of the environment is for the way out.
            trust_env=not is_loopback(urlsplit(access.endpoint).hostname or ""),
        )

    def close(self) -> None:
        """End connections that are kept."""
        self._client.close()

    def address(self, path: str) -> str:
        """Where `/job/1` is asked for: under the endpoint, which may have a path of its own."""
        return self._access.endpoint + path

    def followed(self, href: str) -> str:
        """Where an address in an answer is: it has the endpoint's path in it already.

        Raises:
            TravisUnavailableError: it leads to another host.
        """
        place = urljoin(self._access.endpoint + "/", href)
        if urlsplit(place)[:2] != urlsplit(self._access.endpoint)[:2]:
            raise TravisUnavailableError(
                f"Travis CI at {self._access.endpoint} refers to {href[:_QUOTED]!r}: another host gets no token."
            )
        return place

    def get(self, address: str, what: str) -> bytes:
        """The body of a 200, asked for as often as the limits allow; `what` names it in errors: `job 7`.

        Raises:
            TravisRefusedError: it is refused or not there.
            TravisUnavailableError: there is no answer that could be used.
        """
        ends, pause, attempt = self._clock() + self.limits.patience, self.limits.pause, 0
        while True:
            attempt += 1
            try:
                answer = self._once("GET", address, b"", ends)
            except _NoAnswerError as error:
                told, wait = f"{error}", pause
            else:
                if answer.status == 200:
                    return answer.body
                if answer.status != 429 and answer.status < 500:
                    raise self._refusal(answer, what)
                told, wait = self._failure(answer), max(pause, answer.retry_after)
            if attempt >= self.limits.attempts or wait > self.limits.longest_pause or self._clock() + wait >= ends:
                times = "" if attempt == 1 else f", asked {attempt} times"
                raise TravisUnavailableError(
                    f"Travis CI at {self._access.endpoint} does not tell {what}{times}: {told}. Try again later; see "
                    "https://www.traviscistatus.com."
                )
            self._sleep(wait)
            pause = min(pause * 2, self.limits.longest_pause)

    def post(self, address: str, body: bytes, what: str) -> bytes:
        """The body of an answer to something that is asked once only; `what` names it in errors.

        Raises:
            TravisRefusedError: it is refused; nothing was done.
            TravisUnavailableError: nobody can tell whether it was done.
        """
        try:
            answer = self._once("POST", address, body, self._clock() + self.limits.patience)
        except _NoAnswerError as error:
            raise TravisUnavailableError(
                f"Travis CI at {self._access.endpoint} did not answer to {what}: {error}. {_UNREPEATED}"
            ) from None
        if 200 <= answer.status < 300:
            return answer.body
        if answer.status >= 500:
            raise TravisUnavailableError(
                f"Travis CI at {self._access.endpoint} failed at {what}: {self._failure(answer)}. {_UNREPEATED}"
            )
        raise self._refusal(answer, what)

    def _once(self, method: str, address: str, body: bytes, ends: float) -> _Answer:
        """One answer, whole, before `ends`."""
        headers = {"Content-Type": "application/json"} if body else {}
        parts = bytearray()
        try:
            left = min(max(ends - self._clock(), 0.001), self.limits.silence)
            with self._client.stream(method, address, content=body or None, headers=headers, timeout=left) as found:
                for part in found.iter_raw():
                    parts += part
                    if len(parts) > self.limits.body:
                        raise _NoAnswerError(f"its answer has more than {self.limits.body} bytes")
                    if self._clock() >= ends:
                        raise _NoAnswerError(f"no whole answer within {self.limits.patience:g} s")
                return _Answer(found.status_code, _seconds(found.headers.get("retry-after", "")), bytes(parts))
        except httpx.TimeoutException:
            raise _NoAnswerError(f"no byte for {left:.3g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _NoAnswerError(f"{type(error).__name__}: {str(error)[:_QUOTED]}") from None

    def _failure(self, answer: _Answer) -> str:
        """What a failed answer says, in one line without an end."""
        read = _read(answer.body)
        if read is None:
            text = " ".join(answer.body.decode("utf-8", "replace").split())[:_QUOTED]
            return f"HTTP {answer.status}, {text!r}" if text else f"HTTP {answer.status} without a word"
        told = f"HTTP {answer.status}, {read.error_type}: {read.error_message}".rstrip(".: ")
        if read.max_requests and read.per_seconds:
            told += f" ({read.max_requests} in {read.per_seconds} s are allowed)"
        return told

    def _refusal(self, answer: _Answer, what: str) -> TravisRefusedError:
        """What an answer of 300 to 499 means."""
        read = _read(answer.body)
        code = read.error_type if read is not None else ""
        told = f"Travis CI at {self._access.endpoint} refuses {what}: {self._failure(answer)}"
        return TravisRefusedError(f"{told}. {self._remedy(answer.status, code)}", answer.status, code)

    def _remedy(self, status: int, code: str) -> str:
        token = f"The token is from {self._access.source}" if self._access.token else "No token was sent"
        if 300 <= status < 400:
            return "Redirects are not followed with a token: name the address that it leads to as the endpoint."
        if code == "log_expired":
            return "Logs of more than a year are shown only where the repository's settings allow it."
        if status in {401, 403} and not code:
            # Travis CI answers an invalid token so, in plain text.
            return f"{token}; it is not valid at this endpoint: make a new one and set {TOKEN}."
        if status in {401, 403}:
            return f"{token}; it lacks the permission: use one of a user who may do this in the repository."
        if status == 404:
            return f"It is not there, or the token may not see it. {token}."
        if status == 429:
            return "Wait until the limit's time is over, or have it raised."
        return token + "."


class _NoAnswerError(Exception):
    """One attempt came to nothing."""


def _read(body: bytes) -> Failure | None:
    """The error that a body tells; None for plain text and others."""
    try:
        found = msgspec.json.decode(body, type=Failure)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.error_type or found.error_message else None


def _seconds(text: str) -> float:
    """Of a Retry-After header; 0 for none or a date."""
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0.0
