"""`meshwright test --list`: which tests there are, for people by name and for tools with where each is written."""

from __future__ import annotations

import json
import shlex
import shutil
from typing import TYPE_CHECKING, Any

from test_trials import SHARED_OUT, SHOP, ran

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = "route testers of payment.shop.internal:8080 is reached"


def listed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """The tests of the JSON listing, which is all that there is on standard output."""
    done = ran(folder, "--list", "--format", "json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["version"], found["mesh"]) == (1, "shop")
    tests: list[dict[str, Any]] = found["tests"]
    return tests


def test_tools_learn_of_every_test_what_it_is_and_where_it_is_written(tmp_path: Path) -> None:
    """In the order of the names that people are shown, which are as many; what people wrote comes first."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    tests = listed(folder)
    assert [one["name"] for one in tests] == ran(folder, "--list").stdout.splitlines()
    assert len({one["name"] for one in tests}) == len(tests)
    kinds = [one["kind"] for one in tests]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"written", "derived"}
    by_name = {one["name"]: one for one in tests}
    for name, kind, line in (
        (SHARED_OUT, "written", f"- name: {SHARED_OUT}"),
        (SHIPPED, "derived", "match:"),
    ):
        one = by_name[name]
        assert one["kind"] == kind
        source = one["source"]
        assert line in (folder / source["file"]).read_text().splitlines()[source["line"] - 1]
    assert by_name[SHIPPED]["about"] == ["mesh/shop/virtualRouter/payment/route/testers"]
    assert by_name[SHIPPED]["caller"].startswith("mesh/shop/virtual")


def test_the_listing_says_how_each_test_is_run_alone_and_obeys_the_choice_of_tests(tmp_path: Path) -> None:
    """The command in it chooses just that test again."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    (one,) = listed(folder, "--only", SHARED_OUT, "--isolation", "loopback")
    assert one["reproduce"] == f"meshwright test --isolation loopback --only {shlex.quote(SHARED_OUT)}"
    assert {one["kind"] for one in listed(folder, "--simulate")} == {"written"}
