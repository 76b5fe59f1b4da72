"""The words of tests in Python, which are those of files of tests, and what they mean in the mesh that runs.

The one rule: strict. A word that is not known, or means nothing in this mesh, is refused before anything is done.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack

from meshwright.documents.trial_files import Meaning
from meshwright.errors import UsageError, ended
from meshwright.model.decoding import DecodeError, decode
from meshwright.trials import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from meshwright.testing.running import Running

T = TypeVar("T")
W = TypeVar("W")


class Faulty(TypedDict, total=False):
    """What `fault` takes: a fault of a file of tests (`given`)."""

    latency: str
    jitter: str
    abort: int | str
    bandwidth: str
    reset: bool
    refused: bool
    blackhole: bool
    crash: bool
    lost: bool
    unhealthy: bool
    expired_certificate: bool
    control_plane: Literal["gone"]
    at: str
    instances: str
    when: Mapping[str, str]


class Expected(TypedDict, total=False):
    """What `expect` takes: what a file of tests may expect, but `of`, `at_once` and `steady`.

    Whoever calls decides these.
    """

    status: int | Sequence[int]
    grpc_status: str | Sequence[str]
    served_by: str | Sequence[str]
    not_served_by: str | Sequence[str]
    avoided: bool
    shares: Mapping[str, str]
    confidence: str
    path: Sequence[str]
    attempts: int | Mapping[str, int]
    given_up: Mapping[str, str]
    within: str
    headers: Mapping[str, str | None]
    arrived: Mapping[str, str | None]
    tls: Literal["none", "server", "mutual"]
    peer: str
    errors: int
    spans: Sequence[str | Mapping[str, Any]]


class Fault:
    """The fixture `fault`."""

    def __init__(self, running: Running) -> None:
        self._running = running

    @contextlib.contextmanager
    def __call__(self, **words: Unpack[Faulty]) -> Iterator[None]:
        """Have something go wrong while the block lasts: `with fault(latency="2s", at="payment-v1"): …`.

        When the block is left, callers know that all is well again.

        Raises:
            UsageError: the words mean nothing in this mesh, or ask for more instances than run.
            MeshwrightError: callers did not come to know in time.
        """
        __tracebackhide__ = True
        running = self._running
        given = meant(running, written.Given, words, Meaning.given)
        runs = len(running.rig.instances(running.rig.named(given.at))) if given.at else 0
        if given.of is not None and given.of > runs:
            raise UsageError(
                f"fault: instances: {runs} of {given.at!r} run, not {given.of}; mark the test with "
                f"@pytest.mark.mesh(instances={{{given.at!r}: {given.of}}})"
            )
        with running.loop.within(running.rig.fault(given)):
            running.given.append(given)
            try:
                yield
            finally:
                running.given.remove(given)


def meant(
    running: Running, form: type[W], words: Mapping[str, Any], meaning: Callable[[Meaning, W, str], T | None]
) -> T:
    """What `words`, of the form of `written`, mean in the mesh that runs.

    Raises:
        UsageError: nothing; with every reason.
    """
    __tracebackhide__ = True
    at, faults = form.__name__.lower().replace("given", "fault"), list[str]()
    try:
        said = decode(form, _plain(words), at=at)
    except DecodeError as error:
        told = [
            f"{one.path}: {ended(f'{one.message}; {one.hint}' if one.hint else one.message)}"
            for one in error.problems
        ]
        raise UsageError("\n".join(told)) from None
    found = meaning(
        Meaning(running.graph.state, lambda path, told: faults.append(f"{path}: {ended(told)}")), said, at
    )
    if faults or found is None:
        raise UsageError("\n".join(faults))
    return found


def _plain(value: Any) -> Any:
    """`value` as a file would have it: what is empty or None at the top was not said."""
    return {name: list(one) if isinstance(one, tuple | set | frozenset) else one for name, one in value.items()}
