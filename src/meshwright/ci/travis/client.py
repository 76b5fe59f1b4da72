"""Travis CI's API v3 as far as meshes need it: builds, jobs, logs, requests and keys, as values.

The one rule: a list is followed by its own `next` and by nothing that is counted, since counts are left out where
paging is efficient; an address in an answer is taken as it stands, for an enterprise's has its API's path in it.
Source: https://developer.travis-ci.com/explore/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from meshwright.ci.travis.exchange import Exchange, Limits, TravisRefusedError, TravisUnavailableError
from meshwright.ci.travis.records import Build, Builds, Job, KeyPair, Log, Request, Triggered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.ci.travis.access import Access

T = TypeVar("T")

__all__ = ["Limits", "Travis", "TravisRefusedError", "TravisUnavailableError"]

PAGE = 25
"""Builds that are asked for at once; 100 are the most that Travis CI gives."""


class Travis:
    """One API with one token; safe to use from several threads. Every method may raise the errors of `exchange`."""

    def __init__(self, access: Access, limits: Limits | None = None) -> None:
        self._exchange = Exchange(access, limits)
        self.endpoint = access.endpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End connections that are kept."""
        self._exchange.close()

    def job(self, number: int) -> Job:
        """A job by its id."""
        return self._one(f"/job/{number}", Job, f"job {number}")

    def log(self, job: int) -> str:
        """What a job has printed, as far as it has arrived; "" while nothing has."""
        return self._one(f"/job/{job}/log", Log, f"the log of job {job}").text

    def build(self, number: int) -> Build:
        """A build by its id."""
        return self._one(f"/build/{number}", Build, f"build {number}")

    def builds(self, repository: str, **query: str) -> Iterator[Build]:
        """The builds of `acme/orders`, newest first, page by page as they are taken.

        `query` is the API's own, `_` standing for a dot: `branch_name="main"`, `state="passed"`,
        `event_type="push,api,cron"`.
        """
        asked = {name if name in _UNDOTTED else name.replace("_", ".", 1): text for name, text in query.items()}
        path = f"/repo/{_segment(repository)}/builds?{urlencode({'limit': PAGE, **asked})}"
        address, what, seen = self._exchange.address(path), f"the builds of {repository}", set[str]()
        while address not in seen and len(seen) < self._exchange.limits.pages:
            seen.add(address)
            page = _decoded(self._exchange.get(address, what), Builds, what)
            yield from page.builds
            href = page.page.next.get("@href") if page.page and page.page.next else None
            if not page.builds or not isinstance(href, str):
                return
            address = self._exchange.followed(href)

    def request_build(self, repository: str, asked: Mapping[str, Any]) -> Triggered:
        """Ask for a build of `acme/orders`; `asked` has members such as `branch`, `message` and `merge_mode`.

        It is asked for once: where no answer comes, whether there will be a build nobody can tell.
        """
        what = f"a build of {repository}"
        body = msgspec.json.encode({"request": asked})
        path = f"/repo/{_segment(repository)}/requests"
        return _decoded(self._exchange.post(self._exchange.address(path), body, what), Triggered, what)

    def request(self, repository: str, number: int) -> Request:
        """A request for a build, and the builds that it led to."""
        return self._one(f"/repo/{_segment(repository)}/request/{number}", Request, f"request {number}")

    def key_pair(self, repository: str) -> KeyPair:
        """The key by which values for `acme/orders` are encrypted."""
        what = f"the public key of {repository}"
        return self._one(f"/repo/{_segment(repository)}/key_pair/generated", KeyPair, what)

    def _one(self, path: str, wanted: type[T], what: str) -> T:
        return _decoded(self._exchange.get(self._exchange.address(path), what), wanted, what)


_UNDOTTED = frozenset({"event_type", "created_by", "previous_state", "sort_by", "skip_count"})


def _segment(repository: str) -> str:
    """A repository as one segment of a path."""
    return quote(repository, safe="")


def _decoded(body: bytes, wanted: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        begins = body[:80].decode("utf-8", "replace")
        raise TravisUnavailableError(
            f"What Travis CI answers is not {what} in the form of its API v3: {error}. It begins with {begins!r}."
        ) from None
