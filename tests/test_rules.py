"""The rules find what they say, at the field that causes it, and nothing else."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright import constraints, rules
from meshwright.diagnostics import Diagnostic, Severity
from meshwright.documents import Loaded, LoadSettings, load
from meshwright.documents.findings import CODES
from meshwright.graph import resolve
from meshwright.model import SPECS, Key, Kind, Resource, State, decode
from meshwright.proxy.check import refusals
from meshwright.rules import RULES, circular_dependency, rejected_regex
from meshwright.rules.coverage import Paths, condition
from meshwright.snapshot.build import build
from meshwright.snapshot.resources import Redirect
from settings import CASES, ROOT, examples

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = sorted((CASES / "rules").iterdir())
NOW = 1_800_000_000_000
PAGES = ROOT / "docs" / "rules"


def judged(loaded: Loaded) -> tuple[Diagnostic, ...]:
    """Everything that is found, with its place."""
    graph, unread = resolve(loaded.state), frozenset(loaded.broken)
    found = (*constraints.check(graph, unread=unread), *rules.audit(graph, unread=unread, now=NOW))
    return (*loaded.diagnostics, *loaded.sources.attach(found))


def told(one: Diagnostic) -> dict[str, Any]:
    """A finding as the golden file holds it."""
    return {
        "rule": f"{one.rule} {one.severity}",
        "at": f"{one.source.line if one.source else 0} {one.subject} {one.path}".strip(),
        "summary": one.summary,
        "detail": one.detail,
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=[one.name for one in FOLDERS])
def test_a_mesh_has_exactly_these_findings(folder: Path, update_goldens: bool) -> None:
    """`--update-goldens` rewrites `expected.json`; whatever is called good has none."""
    found = [told(one) for one in judged(load([folder / "mesh.yaml"], LoadSettings(mesh="m")))]
    golden = folder / "expected.json"
    if update_goldens:
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found == json.loads(golden.read_text(encoding="utf-8"))
    assert found, "a case shows its rule at work"
    assert not [one for one in found if "/good" in one["at"]]


def test_what_snapshots_leave_out_of_that_case_is_what_the_rule_finds() -> None:
    """A proxy is not refused silently what validation passes, nor warned of what it gets."""
    loaded = load([CASES / "rules" / "unserved_definition" / "mesh.yaml"], LoadSettings(mesh="m"))
    graph = resolve(loaded.state)
    proxies = [one.key for kind in (Kind.VIRTUAL_GATEWAY, Kind.VIRTUAL_NODE) for one in graph.state.of(kind)]
    built = {key.path: build(graph, key, {}, Redirect()).unserved for key in proxies}
    assert {path for path, lost in built.items() if lost} == {one.subject for one in rules.audit(graph)}
    told = {(one.subject, reason) for one in rules.audit(graph) for reason in [one.summary]}
    for path, lost in built.items():
        for one in lost:
            if one.subject.kind is Kind.VIRTUAL_SERVICE:
                assert any(at == path and one.reason in text and repr(one.subject.name) in text for at, text in told)


def test_every_rule_that_searches_has_a_case() -> None:
    """With a finding and without."""
    cases = [json.loads((folder / "expected.json").read_text(encoding="utf-8")) for folder in FOLDERS]
    shown = {one["rule"].partition(" ")[0] for found in cases for one in found}
    assert {rule.code for rule in RULES if rule.search is not None} <= shown


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    """Also the codes of reading and of App Mesh's constraints, wherever the source writes them."""
    written = {
        code
        for path in (ROOT / "src").rglob("*.py")
        if "rules" not in path.relative_to(ROOT).parts
        for code in re.findall(r'"(MW\d{3})"', path.read_text(encoding="utf-8"))
    }
    known = {rule.code for rule in RULES}
    assert written <= known
    assert {rule.code for rule in RULES if rule.search is None} <= written
    assert [rule.code for rule in RULES] == sorted(known)
    assert {code: rules.find(code).name for code in CODES if rules.find(code)} == {  # type: ignore[union-attr]
        code: name for code, (name, _) in CODES.items()
    }


def test_every_page_has_the_same_four_parts() -> None:
    """What it finds, why it matters, an example, what to use instead."""
    for rule in RULES:
        assert re.findall(r"^## (.*)$", rule.page, flags=re.MULTILINE) == [
            "What it finds",
            "Why it matters",
            "Example",
            "Use instead",
        ], rule.code
        assert rules.find(rule.code) is rules.find(rule.name) is rule


def test_the_documentation_is_the_rules_own_words(update_goldens: bool) -> None:
    """`docs/rules/` holds a page a rule and an index; `make docs` writes them."""
    index = (
        "# Rules\n\nWhat `meshwright validate` finds, `meshwright trust check` (MW6xx) and `meshwright travis check` "
    )
    index += "(MW85x, MW86x). "
    index += "`meshwright rules CODE` prints a page.\n\n"
    index += "| code | name | severity | what it finds |\n|---|---|---|---|\n"
    pages = {}
    for rule in RULES:
        pages[f"{rule.code}.md"] = rules.rendered(rule)
        index += f"| [{rule.code}]({rule.code}.md) | {rule.name} | {rule.severity} | {rule.summary} |\n"
    pages["README.md"] = index
    if update_goldens:
        PAGES.mkdir(exist_ok=True)
        for name, text in pages.items():
            (PAGES / name).write_text(text, encoding="utf-8")
    assert {path.name: path.read_text(encoding="utf-8") for path in PAGES.iterdir()} == pages, "run `make docs`"


def test_the_real_service_s_accepted_inputs_raise_no_error(corpus: Path) -> None:
    """A rule may warn about what App Mesh takes; an error would stop a working release."""
    for case in json.loads((corpus / "accepted_cases.json").read_text(encoding="utf-8")):
        kind = Kind(case["kind"][0].lower() + case["kind"][1:])
        parent, state = "", State([Resource(key=Key.of_mesh("m"), spec=decode(SPECS[Kind.MESH], {}))])
        for group, members in case["base"].items():
            for name, spec in members.items():
                key = Key("m", Kind(group.removesuffix("s")), name)
                state = state.put(Resource(key=key, spec=decode(SPECS[key.kind], spec)))
                parent = name if kind.parent is key.kind else parent
        key = Key.of_mesh("m") if kind is Kind.MESH else Key("m", kind, "subject", parent)
        for spec in (case["create"], *case["then_update"]):
            found = rules.audit(resolve(state.put(Resource(key=key, spec=decode(SPECS[kind], spec)))))
            assert [one for one in found if one.severity is Severity.ERROR] == [], case["name"]


KEYS = [Key("m", Kind.VIRTUAL_NODE, name) for name in "abcdef"]


@settings(max_examples=examples(50))
@given(st.sets(st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS)), max_size=14))
def test_circles_cover_exactly_the_calls_that_lie_on_one(calls: set[tuple[Key, Key]]) -> None:
    """Each circle once, from its least member; every call that can come back is in one; no other is."""
    graph = {key: tuple(sorted(called for caller, called in calls if caller == key)) for key in KEYS}
    found = circular_dependency.circles(graph)
    shown = {pair for one in found for pair in zip(one, (*one[1:], one[0]), strict=True)}
    assert shown == {(caller, called) for caller, called in calls if caller in reachable(graph, called)}
    assert len(set(found)) == len(found)
    assert all(one[0] == min(one) and len(set(one)) == len(one) for one in found)


def reachable(graph: dict[Key, tuple[Key, ...]], start: Key) -> set[Key]:
    """Everything that can be called from `start`, itself included."""
    seen, waiting = {start}, [start]
    while waiting:
        new = set(graph[waiting.pop()]) - seen
        seen |= new
        waiting += new
    return seen


SEGMENTS = st.lists(st.sampled_from(["/", "a", "b", ".", "c"]), max_size=4).map(lambda parts: "/" + "".join(parts))
PARTS = ["a", "b", "/", ".", ".*", "a?", "(a|b)", "|", "[ab]", r"\.", "c+"]
PATHS = st.one_of(
    st.builds(Paths, st.sampled_from(["exact", "prefix"]), SEGMENTS),
    st.builds(
        Paths,
        st.just("regex"),
        st.lists(
            st.sampled_from(["a", "b", "/", ".", ".*", "a?", "(a|b)", "|", "[ab]", r"\.", "c+"]), max_size=5
        ).map(lambda parts: "/" + "".join(parts)),
    ),
)


def taken(paths: Paths, path: str) -> bool:
    """Whether Envoy would take `path`."""
    if paths.kind == "regex":
        return re2.fullmatch(paths.text, path) is not None
    return path == paths.text if paths.kind == "exact" else path.startswith(paths.text)


@settings(max_examples=examples(200))
@given(PATHS, PATHS, SEGMENTS)
def test_a_set_of_paths_covers_only_what_it_really_takes(wide: Paths, narrow: Paths, path: str) -> None:
    """No false positive: what the narrow one takes, the wide one takes."""
    samples = [path, narrow.text.replace("?", "").replace("*", ""), f"{narrow.text}x"]
    if wide.cover(narrow):
        for sample in samples:
            assert not (taken(narrow, sample) and sample.startswith("/")) or taken(wide, sample)


@settings(max_examples=examples(50))
@given(PATHS)
def test_an_expression_written_differently_is_the_same_set(paths: Paths) -> None:
    """A set covers itself; `condition` turns plain expressions into paths and prefixes."""
    assert paths.cover(paths)
    if paths.kind == "regex":
        spec = {
            "httpRoute": {
                "match": {"path": {"regex": paths.text}},
                "action": {"weightedTargets": [{"virtualNode": "n", "weight": 1}]},
            }
        }
        simple = condition(decode(SPECS[Kind.ROUTE], spec)).paths  # type: ignore[arg-type]
        for sample in ("/", "/a", "/ab/c", "/.", paths.text):
            assert taken(simple, sample) == taken(paths, sample)


@pytest.mark.envoy
@pytest.mark.parametrize(
    "expression",
    [
        "a[",
        "(?=x)y",
        r"(a)\1",
        ".{48}",
        ".{49}",
        r"\p{L}{13}",
        r"\p{L}{15}",
        "[à-ü]{40}",
        "(?i)é{60}",
        "a**",
        r"\C",
        r"\x{100}",
    ],
)
def test_expressions_are_judged_as_the_real_envoy_judges_them(expression: str, tmp_path: Path) -> None:
    """Same engine, same mode, same limit: plain Envoy refuses exactly what is more than a remark or large."""
    assert (rejected_regex.judged(expression) is None) == envoy_takes(expression, tmp_path)


@pytest.mark.envoy
@pytest.mark.parametrize(
    "text",
    ["%%", "100%", "%START_TIME", "%START_TIME(%Y%%)%", "%REQ(A?B):5%", "%REQ(A)", "%%%", "%a%", "%PROTOCOL()%",
     "%REQ(X)%:5%", "%DURATION%% ms", "%RESPONSE_CODE%%PROTOCOL%", "%REQ(a\n)%", "%PROTOCOL:x%"],
)  # fmt: skip
def test_log_formats_are_read_as_the_real_envoy_reads_them(text: str) -> None:
    """What begins a command and what does not."""
    spec = {
        "logging": {"accessLog": {"file": {"path": "/dev/null", "format": {"text": text}}}},
        "listeners": [{"portMapping": {"port": 80, "protocol": "http"}}],
        "serviceDiscovery": {"dns": {"hostname": "n.local"}},
    }
    node = Resource(key=Key("m", Kind.VIRTUAL_NODE, "n"), spec=decode(SPECS[Kind.VIRTUAL_NODE], spec))
    graph = resolve(State([node]))
    found = [one for one in rules.audit(graph) if one.rule == "MW211"]
    assert bool(found) == bool(refusals([build(graph, node.key, {}, Redirect())]))


def envoy_takes(expression: str, folder: Path) -> bool:
    """Whether Envoy, started without a runtime of ours, takes a route with that expression."""
    import subprocess  # noqa: PLC0415 - for this one test

    from meshwright.proxy.run import envoy_path  # noqa: PLC0415 - for this one test

    kind = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"safe_regex": {"regex": expression}}, "direct_response": {"status": 200}}
    hosts = [{"name": "v", "domains": ["*"], "routes": [route]}]
    connection = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}}],
        "route_config": {"name": "r", "virtual_hosts": hosts},
    }
    listener = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": connection}]}],
    }
    config = folder / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener]}}), encoding="utf-8")
    arguments = [str(envoy_path()), "--mode", "validate", "-c", str(config), "--log-level", "off"]
    return subprocess.run(arguments, capture_output=True, timeout=60, check=False).returncode == 0
