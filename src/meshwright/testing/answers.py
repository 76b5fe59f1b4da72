"""What became of calls, to be asserted on: member by member, or in the words of files of tests.

The one rule: what only proxies know is asked for when somebody wants to know it, and waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack, get_args, overload

from msgspec.structs import replace

from meshwright.documents.trial_files import Meaning
from meshwright.errors import UsageError
from meshwright.lab.seeing import left_alone, seen, told_by_proxies
from meshwright.testing.words import meant
from meshwright.trials import written
from meshwright.trials.judging import judge
from meshwright.trials.seen import Seen
from meshwright.trials.trial import Trial
from meshwright.views import trials_text
from meshwright.views.trials import quoted, reported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.lab.rig import Sent
    from meshwright.model.identity import Key
    from meshwright.simulate import Call
    from meshwright.testing.running import Running
    from meshwright.testing.words import Expected
    from meshwright.trials.judging import Result
    from meshwright.trials.seen import Attempt, CallSeen, SpanSeen
    from meshwright.trials.trial import Expect, Given

_GRPC = get_args(written.GrpcStatus)


class Answer:
    """What became of one call."""

    def __init__(self, running: Running, sent: Sent, among: Answers) -> None:
        self._running = running
        self._sent = sent
        self._among = among
        self._seen = seen(sent)
        self._whole: CallSeen | None = None

    @property
    def status(self) -> int:
        """The HTTP status; 0 for no answer at all."""
        return self._seen.status

    @property
    def grpc_status(self) -> str | None:
        """The name of gRPC's status; None where nobody answered in gRPC."""
        number = self._seen.grpc_status
        return None if number is None else _GRPC[number] if number < len(_GRPC) else str(number)

    @property
    def reason(self) -> str:
        """Why there is no proper answer, in the words of who told it; "" where there is one."""
        return self._seen.fault

    @property
    def served_by(self) -> str:
        """The virtual node that answered; "" where a proxy answered, or nobody did."""
        return self._seen.node

    @property
    def instance(self) -> str:
        """Which instance of the node, such as `payment-v1-2`."""
        return self._seen.instance

    @property
    def path(self) -> list[str]:
        """The virtual nodes and gateways that the call passed, its caller first."""
        return list(self._seen.path)

    @property
    def attempts(self) -> int:
        """How often the call arrived at instances, as they counted."""
        return len(self._seen.attempts)

    @property
    def arrivals(self) -> tuple[Attempt, ...]:
        """Each of them: node, instance, milliseconds after the call was made."""
        return self._seen.attempts

    @property
    def given_up(self) -> list[float | None]:
        """Of each attempt: milliseconds after its arrival when the caller gave it up; None where it did not."""
        self.wait_for_attempts()
        return [one.given_up for one in self._seen.attempts]

    @property
    def milliseconds(self) -> float:
        """How long it took until the answer was there."""
        return self._seen.elapsed

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; names in lower case."""
        return self._seen.headers

    @property
    def arrived(self) -> Mapping[str, str]:
        """The request's headers where it arrived; `:path`, `:method` and `:authority` too."""
        return self._seen.arrived

    @property
    def tls(self) -> str | None:
        """How it was encrypted between the two proxies: `none`, `server`, `mutual`; None where nobody could tell."""
        found = self.told().encryption
        return None if found is None else found.value

    @property
    def peer(self) -> str:
        """The name in the client's certificate; "" for none."""
        return self.told().peer

    @property
    def spans(self) -> tuple[SpanSeen, ...]:
        """What proxies told of it as OpenTelemetry spans: proxy, name, start and duration in milliseconds."""
        return self.told().spans

    @property
    def log(self) -> tuple[str, ...]:
        """Lines of the proxies' access logs about it."""
        return self.told().log

    def expect(self, **words: Unpack[Expected]) -> None:
        """Fail unless the call came to what a file of tests would expect: `answer.expect(status=200, attempts=1)`.

        Raises:
            AssertionError: it did not; with what happened, who decided it, and where that is written.
            UsageError: the words mean nothing in this mesh.
        """
        __tracebackhide__ = True
        self._among.alone(self).expect(**words)

    def told(self) -> CallSeen:
        """All that is known of it, with what the proxies say, which is waited for."""
        if self._whole is None:
            (trace,) = self._running.loop.run(self._running.rig.report([self._sent]))
            self._whole = told_by_proxies(self._seen, self._sent, trace)
        return self._whole

    def wait_for_attempts(self) -> None:
        """Have it known which of its attempts were given up."""
        self._sent = self._running.loop.run(left_alone(self._running.rig, self._sent))
        attempts = seen(self._sent).attempts
        self._seen = replace(self._seen, attempts=attempts)
        self._whole = self._whole and replace(self._whole, attempts=attempts)

    def known(self) -> CallSeen:
        """What is known of it so far."""
        return self._whole or self._seen

    def __repr__(self) -> str:
        call, told = self._sent.call, f" ({self.reason[:60]})" if self.reason else ""
        asked = f"{trials_text.called(replace(call, headers=()))} from {self._sent.at.name}"
        return f"<{self.status or 'no answer'} by {self.served_by or 'nobody'}{told} to {asked}>"


class Answers(Sequence[Answer]):
    """What became of several calls that are alike, in the order in which they were made."""

    def __init__(
        self, running: Running, call: Call, caller: Key, onward: Sequence[str] = (), given: Sequence[Given] = ()
    ) -> None:
        self._running = running
        self._answers: list[Answer] = []
        self.call, self.caller = call, caller
        self.onward, self.given = tuple(onward), tuple(given)

    @overload
    def __getitem__(self, index: int) -> Answer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Answer]: ...
    def __getitem__(self, index: int | slice) -> Answer | Sequence[Answer]:
        return self._answers[index]

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def statuses(self) -> Counter[int]:
        """How many had each HTTP status; 0 stands for no answer at all."""
        return Counter(one.status for one in self)

    @property
    def served_by(self) -> Counter[str]:
        """How many each virtual node answered; "" stands for proxies, and for nobody."""
        return Counter(one.served_by for one in self)

    def expect(self, **words: Unpack[Expected]) -> None:
        """Fail unless the calls came to what a file of tests would expect: `answers.expect(status=200, errors=1)`.

        Raises:
            AssertionError: they did not; with what happened, who decided it, and where that is written.
            UsageError: the words mean nothing in this mesh.
        """
        __tracebackhide__ = True
        if not words:
            raise UsageError("expect: says nothing of what is to come of it; say at least a status")
        expect = meant(self._running, written.Expect, words, Meaning.expect)
        for one in self:
            if expect.given_up is not None:
                one.wait_for_attempts()
            if expect.encryption or expect.peer or expect.spans:
                one.told()
        result = judge(self.trial(expect), Seen(calls=tuple(one.known() for one in self)))
        if not result.passed:
            raise AssertionError(self._said(result))

    def add(self, sent: Sent) -> None:
        """One more."""
        self._answers.append(Answer(self._running, sent, self))

    def alone(self, one: Answer) -> Answers:
        """The same of one of them."""
        found = Answers(self._running, self.call, self.caller, self.onward, self.given)
        found._answers = [one]
        return found

    def trial(self, expect: Expect) -> Trial:
        """The calls as a test that expects something of them."""
        return Trial(
            name=self._running.test,
            call=self.call,
            expect=expect,
            caller=self.caller,
            given=self.given,
            of=max(len(self), 1),
            onward=self.onward,
        )

    def _said(self, result: Result) -> str:
        running = self._running
        command = f"pytest {quoted(running.test)}"
        return "\n" + trials_text.told(reported(running.graph, result, running.find, command))

    def __repr__(self) -> str:
        parts = ", ".join(f"{count} of {status or 'no answer'}" for status, count in self.statuses.items())
        return f"<{len(self)} answers: {parts}>"
