"""A stack's releases searched and paged, over our API and on the command line, against the real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshwright.errors import BadRequestException
from meshwright.release import Build, RollbackRequest
from test_cli_releases import run  # noqa: F401 - a fixture
from test_releases import INTRUDER, MESH, SHIFTED, SHOP, applied, client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from command_line import Done
    from serving import Serving

FIRST = Build(ci="travis", repository="acme/shop", branch="main", commit="a1b2c3d4e5", build_number="41")
SECOND = Build(ci="travis", repository="acme/shop", branch="next", commit="a1ffffffff", build_number="42")


@pytest.fixture
def history(server: Serving) -> Serving:
    """Three releases: 1 created everything, 2 shifted a route's weights, 3 is a rollback to 1 by someone else."""
    applied(client(server), *SHOP, build=FIRST)
    applied(client(server), *SHIFTED, build=SECOND)
    client(server, INTRUDER).roll_back(MESH, "shop", RollbackRequest(to=1, build=SECOND))
    return server


def found(server: Serving, **conditions: str) -> list[int]:
    """The numbers of the releases that meet these conditions, in the order of the answer."""
    return [one["number"] for one in client(server).releases(MESH, "shop", 100, conditions)["releases"]]


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ({}, [3, 2, 1]),
        ({"before": "3"}, [2, 1]),
        ({"build": "41"}, [1]),
        ({"build": "4"}, []),
        ({"commit": "a1"}, [3, 2, 1]),
        ({"commit": "a1b"}, [1]),
        ({"commit": "A1B"}, [1]),
        ({"commit": "%"}, []),
        ({"branch": "next"}, [3, 2]),
        ({"repository": "acme/shop", "branch": "main"}, [1]),
        ({"repository": "acme"}, []),
        ({"status": "rolled back"}, [2]),
        ({"status": "applied"}, [3, 1]),
        ({"object": "mesh/m/virtualNode/a"}, [1]),
        ({"object": "mesh/m/virtualRouter/r/route/x"}, [3, 2, 1]),
        ({"object": "arn:aws:appmesh:us-east-1:000000000000:mesh/m/virtualRouter/r/route/x", "build": "42"}, [3, 2]),
        ({"object": "mesh/m/virtualNode/never"}, []),
        ({"principal": "user/build"}, []),
        ({"principal": "user/administrator"}, [2, 1]),
        ({"principal": "user/intruder"}, [3]),
        ({"principal": "user/truder"}, []),
        ({"principal": "role/administrator"}, []),
        ({"since": "1"}, [3, 2, 1]),
        ({"until": "1"}, []),
    ],
    ids=lambda one: "-".join(f"{name}={value}" for name, value in one.items()) if isinstance(one, dict) else "",
)
def test_a_search_finds_the_releases_that_meet_every_condition(
    history: Serving, conditions: Mapping[str, str], numbers: list[int]
) -> None:
    """Newest first; what is written is taken as it stands, not as a pattern."""
    assert found(history, **conditions) == numbers


def test_a_search_by_principal_and_by_time_agrees_with_what_the_releases_say(history: Serving) -> None:
    """`since` is inclusive and `until` is not, so that two neighbouring spans hold every release once."""
    listed = client(history).releases(MESH, "shop")["releases"]
    last, first = listed[0], listed[-1]
    assert found(history, principal=last["principal"]) == [3]
    assert found(history, principal=first["principal"]) == [2, 1]
    moment = str(last["at"])
    assert found(history, until=moment) == [one["number"] for one in listed if one["at"] < last["at"]]
    assert found(history, since=moment) == [one["number"] for one in listed if one["at"] >= last["at"]]


def test_pages_hold_every_release_once(history: Serving) -> None:
    """`next` is what the following page is asked for before; the last page has none."""
    asking, seen = client(history), []
    before: dict[str, str] = {}
    for _ in range(4):
        page = asking.releases(MESH, "shop", 1, before)
        seen += [one["number"] for one in page["releases"]]
        if page["next"] is None:
            break
        before = {"before": str(page["next"])}
    assert seen == [3, 2, 1]


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"comit": "a1"}, "did you mean 'commit'"),
        ({"before": "0"}, "before takes a number"),
        ({"since": "yesterday"}, "since takes a number"),
        ({"status": "good"}, "status takes one of applied"),
        ({"object": "cart"}, "object: 'cart' names no App Mesh resource"),
        ({"object": "mesh/other/virtualNode/a"}, "releases are of mesh 'm'"),
        ({"principal": "build"}, "principal takes an ARN, user/NAME or role/NAME, found 'build'"),
        ({"branch": ""}, "branch takes 1 to 512 characters"),
    ],
)
def test_a_condition_that_cannot_be_met_is_refused_by_name(
    history: Serving, conditions: Mapping[str, str], words: str
) -> None:
    """Passed over, it would make a list that looks as if it met it."""
    with pytest.raises(BadRequestException, match=words):
        found(history, **conditions)


def test_the_command_searches_and_says_how_to_see_older_ones(run: Callable[..., Done]) -> None:  # noqa: F811
    """The text names the option; a condition that nothing meets is told apart from an empty history."""
    run("apply")
    run("apply", "--parameter", "unused=1")
    assert run("history", "--object", "virtualNode/a", "--format", "json").json["releases"][0]["title"] == "shop#1"
    assert run("history", "--since", "1h", "--until", "2999-01-01").out.splitlines()[1].startswith("shop#1")
    assert "no release that meets these conditions" in run("history", "--build", "7").out
    assert run("history", "--since", "soon").code == 2
    assert "has no release.\n" in run("history", "--stack", "empty").out
