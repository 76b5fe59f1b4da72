"""JUnit XML of a test run is valid by the common schema and says what a person needs, whatever names are in it."""

from __future__ import annotations

from junit_shape import read
from meshwright.views import trials_junit
from reports import EVIL, hostile, large


def test_names_of_all_kinds_make_valid_xml() -> None:
    """Counts are of the tests; a failure says all, its logs too; a test that passed at last is a flaky one."""
    root = read(trials_junit.render(hostile()))
    (suite,) = root
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("5", "1", "1")
    assert (suite.get("skipped"), suite.get("timestamp")) == ("1", "2026-09-21T14:13:20")
    passed, failed, broken, skipped, again = suite.findall("testcase")
    assert "<img src=x onerror=alert(1)>" in (passed.get("name") or "")
    assert list(passed) == []
    assert [one.tag for one in failed] == ["failure", "system-out"]
    text = (failed[0].text or "").strip()
    assert text.startswith("tests/shop")
    assert {line.split()[0] for line in text.splitlines()[1:]} == {"call", "expected", "happened", "decided", "again"}
    assert (failed[1].text or "").count("\n") == 1
    assert [one.tag for one in (*broken, *skipped, *again)] == ["error", "skipped", "flakyFailure"]
    assert {name for one in suite.findall("properties/property") for name in [one.get("name")]} == {
        "mesh",
        "mode",
        "isolation",
        "coverage",
    }
    assert "\x1b" not in "".join(root.itertext())
    assert EVIL.split("\x1b")[0] in (failed[0].get("message") or "")


def test_tests_are_in_the_suite_and_class_of_their_file() -> None:
    """With dots where viewers make folders; of logs that do not end, so much is told."""
    (suite,) = read(trials_junit.render(large()))
    assert (suite.get("name"), suite.get("file"), suite.get("time")) == (
        "tests/shop.yaml",
        "tests/shop.yaml",
        "25.000",
    )
    classes = {one.get("classname") for one in suite.findall("testcase")}
    output = suite.findall("testcase/system-out")[0].text or ""
    assert len(output) < 100_000
    assert output.endswith("… 1465 more lines are in the JSON report")
    assert classes == {"meshwright.written.tests.shop", "meshwright.derived.tests.shop"}
