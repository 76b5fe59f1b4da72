"""A release that every Envoy took is noted as propagated although nobody asks, and so is the last known good one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.lab.lab import Lab
from meshwright.model.identity import Key, Kind
from meshwright.release import Release, RollbackRequest, Status
from meshwright.store import sqlite
from processes import until

if TYPE_CHECKING:
    from meshwright.model.state import State

pytestmark = pytest.mark.envoy

SHOP = Path(__file__).parent.parent / "examples" / "shop"


def tagged(state: State, value: int) -> State:
    """The shop with another priority of one route, so that a release has something to push."""
    route = state[Key("shop", Kind.ROUTE, "everybody", "payment")]
    return state.put(msgspec.structs.replace(route, spec=msgspec.structs.replace(route.spec, priority=value)))


def propagated(one: Release | None) -> bool:
    """Whether a release is there and has been seen to propagate."""
    return one is not None and one.status is Status.PROPAGATED


async def noted(lab: Lab, number: int) -> None:
    """Wait until the database says that a release has propagated; the server is asked nothing."""
    store = sqlite.connect(lab.control.folder / "meshwright.db", create=False)
    try:
        await asyncio.to_thread(until, lambda: propagated(store.release("shop", "shop", number)))
    finally:
        store.close()


async def test_a_release_that_nobody_asks_about_is_known_to_be_good() -> None:
    """Also when the server was restarted before the acks came: the next one goes on following."""
    project = load_project(SHOP / "meshwright.yaml")
    state = load(project.definitions, project.load_settings()).state
    async with Lab(state, stack="shop") as lab:
        assert await lab.apply(tagged(state, 700)) == 2
        await noted(lab, 2)
        await lab.apply(tagged(state, 800))
        await lab.control.kill()
        await lab.control.start()
        await noted(lab, 3)
        request = RollbackRequest(last_good=True)
        answer = await asyncio.to_thread(lab.client().roll_back, "shop", "shop", request)
        assert answer["release"]["restores"] == 2
