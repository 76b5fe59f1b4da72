"""Access log formats are judged as the real Envoy judges them: every command, what it takes, and whatever is odd."""

from __future__ import annotations

import json
import random
import re
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from meshwright.diagnostics import Severity
from meshwright.proxy.run import envoy_path, guarded
from meshwright.routing.log_formats import COMMANDS, judged, refused
from processes import DEADLINE
from settings import PROVE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TYPES = "type.googleapis.com/envoy"
_REJECTED = re.compile(r"listener '(\d+)' config rejected: ")
_GIVEN = (
    "", "x", "A?B", "?", "a?b?c", ":PATH", "::", ":", "a:b", "a:b:c", "a:b:ms", "a::us", "WQ", "wq", "NQ:ORIG",
    "WQ:PATH:x", "ORIG", "DECODED", "NUMBER", "SNAKE_STRING", "SNI_FIRST:HOST", "SNI_ONLY:x", "ROUTE:a", "DYNAMIC",
    "CLUSTER:x", "LISTENER_FILTER_CHAIN:a", "k:PLAIN", "k:FIELD:f", "k:FIELD", "k::", ":PLAIN", "%Y", "%n", "%5En",
    "a%b", "é", " ", "(a)", "\r", "24",
)  # fmt: skip
_PIECES = ("%", "%%", "(", ")", ":", "5", "A", "a", "REQ", "PROTOCOL", "\n", "\r", " ", "?")


def rejected(formats: Sequence[str], folder: Path) -> set[int]:
    """The indices of the formats that a running Envoy rejects, each in a listener of its own."""
    # What comes last is always rejected: by that, all others are known to have been judged.
    listeners = [_listener(number, text) for number, text in enumerate((*formats, "%"))]
    (folder / "lds.json").write_text(json.dumps({"version_info": "1", "resources": listeners}))
    source = {"path_config_source": {"path": str(folder / "lds.json")}}
    document = {"node": {"id": "n", "cluster": "c"}, "dynamic_resources": {"lds_config": source}}
    (folder / "bootstrap.json").write_text(json.dumps(document))
    arguments = (str(envoy_path()), "-c", str(folder / "bootstrap.json"), "--disable-hot-restart")
    options = ("--concurrency", "1", "--log-level", "warning", "--log-format", "%v")
    command = guarded((*arguments, *options))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        late = threading.Timer(4 * DEADLINE, running.kill)
        late.start()
        try:
            found: set[int] = set()
            while len(formats) not in found:
                line = running.stderr.readline() if running.stderr else ""
                assert line, "Envoy ended before it had judged all"
                found.update(int(number) for number in _REJECTED.findall(line))
        finally:
            late.cancel()
            running.kill()
    return found - {len(formats)}


def _listener(number: int, text: str) -> dict[str, Any]:
    log = {
        "@type": f"{_TYPES}.extensions.access_loggers.file.v3.FileAccessLog",
        "path": "/dev/null",
        "log_format": {"text_format_source": {"inline_string": text}},
    }
    # The same formats as for requests, and a listener that is made in a fraction of the time.
    proxy = {
        "@type": f"{_TYPES}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "x",
        "cluster": "x",
        "access_log": [{"name": "log", "typed_config": log}],
    }
    return {
        "@type": f"{_TYPES}.config.listener.v3.Listener",
        "name": str(number),
        "bind_to_port": False,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1 + number}},
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
    }


@pytest.mark.envoy
def test_every_command_is_known_to_envoy_and_takes_what_it_is_said_to_take(tmp_path: Path) -> None:
    """Alone, with an empty and a wanted text in brackets, with a length, and under a name that is nearly the same."""
    forms = ("%{}%", "%{}()%", "%{}(x)%", "%{}:5%", "%{}(x):5%", "%X{}%", "%{}")
    formats = [form.format(name) for name in COMMANDS for form in forms]
    judgeable = [text for text in formats if not unjudged(text)]
    found = rejected(judgeable, tmp_path)
    assert [text for number, text in enumerate(judgeable) if (number in found) != refused(text)] == []
    assert len(COMMANDS) == 162
    assert len(formats) - len(judgeable) == 2 * 2, "of two commands the text in brackets, with and without a length"


@pytest.mark.envoy
def test_whatever_is_written_in_a_format_is_judged_as_envoy_judges_it(tmp_path: Path) -> None:
    """Random formats of commands with odd texts and lengths, several in a row, and of pieces of them."""
    draw = random.Random(0)  # noqa: S311 - the same formats each time
    formats = [text for text in {_format(draw) for _ in range(12_000 if PROVE else 1_000)} if not unjudged(text)]
    found = rejected(formats, tmp_path)
    assert [text for number, text in enumerate(formats) if (number in found) != refused(text)] == []
    assert len(formats) / 10 < len(found) < len(formats) * 9 / 10


def unjudged(text: str) -> bool:
    """Whether only Envoy can tell, which is then said."""
    return any("only Envoy can judge" in one.text for one in judged(text))


def _format(draw: random.Random) -> str:
    if draw.random() < 0.2:
        return "".join(draw.choices(_PIECES, k=draw.randint(1, 7)))
    return draw.choice(("", "%%", "x ")) + "".join(_command(draw) for _ in range(draw.randint(1, 2)))


def _command(draw: random.Random) -> str:
    name = draw.choice(sorted(COMMANDS)) if draw.random() < 0.95 else draw.choice(("NOSUCH", "req", "_", "0"))
    given = f"({draw.choice(_GIVEN)})" if draw.random() < 0.4 else ""
    length = ":" + draw.choice(("0", "05", "", "x", str(2**64 - 1), str(2**64))) if draw.random() < 0.1 else ""
    return f"%{name}{given}{length}" + ("%" if draw.random() < 0.98 else "")


@pytest.mark.parametrize(
    ("text", "severity", "said"),
    [
        (
            "%RESPONSE_COD%",
            Severity.ERROR,
            "%RESPONSE_COD%, which Envoy does not know. Did you mean '%RESPONSE_CODE%",
        ),
        ("%REQ%", Severity.ERROR, "%REQ% that Envoy rejects: it needs the name of a header in brackets"),
        ("%DURATION(ms)%", Severity.ERROR, "gives %DURATION% 'ms' in brackets, and it takes nothing"),
        ("%START_TIME:5%", Severity.ERROR, "gives %START_TIME% a length, which it does not take"),
        ("%CEL(1 +)%", Severity.INFO, "%CEL%, whose text in brackets only Envoy can judge; ask it by validate"),
        ("%SPAN_ID%", Severity.INFO, "%SPAN_ID%, which Envoy knows from 1.38 on; an older one rejects the listener"),
    ],
)
def test_what_is_wrong_is_said_with_the_command(text: str, severity: Severity, said: str) -> None:
    """And where it is a slip of the pen, what was probably meant."""
    (found,) = judged(f"at %START_TIME(%Y)% {text}")
    assert found.severity is severity
    assert said in found.text
