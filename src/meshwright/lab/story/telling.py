"""The telling: set the scene, play the steps one after the other, clear everything away.

Whatever ends the story, a failed check, an error or Ctrl-C, nothing of it is left on the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from meshwright.documents.load import load
from meshwright.documents.project_file import load_project
from meshwright.errors import FailedCheckError
from meshwright.lab.addresses import Block
from meshwright.lab.control_plane import ControlPlane
from meshwright.lab.fleet import Fleet
from meshwright.lab.stage import Stopwatch
from meshwright.lab.story import evidence, sdk, steps
from meshwright.lab.story.scene import GATEWAY_HOST, TRUST, Scene
from meshwright.proxy.run import envoy_path

if TYPE_CHECKING:
    from meshwright.lab.stage import Teller
    from meshwright.model.state import State

INSTANCES = {"payment-v1": 2}
"""How many of a node run where it is not one; step 4 needs two of these."""


async def tell(teller: Teller, *, keep: bool) -> int:
    """Tell the story; with `keep`, leave everything running afterwards until cancelled. 0, or 1 for a failed check.

    Raises:
        MeshwrightError: something could not be done at all.
    """
    envoy_path()
    sdk.need()
    watch = Stopwatch()
    async with contextlib.AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="meshwright-demo-")))
        block = exits.enter_context(Block())
        try:
            scene = await _begin(teller, exits, block, folder)
            for step in (steps.send, steps.build, steps.slow_down, steps.bad_build, steps.intrude, steps.roll_back):
                await step(scene)
        except FailedCheckError as error:
            teller.end(f"The story ends here: {error}")
            return FailedCheckError.exit_code
        teller.end(f"The whole story, in {watch.seconds:.0f} s: every check held.")
        if keep:
            _addresses(scene)
            # Being cancelled is how this is meant to end.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
    return 0


async def _begin(teller: Teller, exits: contextlib.AsyncExitStack, block: Block, folder: Path) -> Scene:
    """Step 1: the control plane, the first release, the Envoys, the graph."""
    teller.step("Start a control plane, apply the shop, start its Envoys")
    watch = Stopwatch()
    control = await exits.enter_async_context(ControlPlane(block, folder, TRUST))
    teller.say(f"The control plane serves {control.url}, xDS on {control.xds}; ready in {watch.seconds:.1f} s.")
    scene = Scene(teller, control, folder)
    applied = await scene.operator.types("apply", lines=6)
    seen = f"exit code {applied.code}"
    teller.check("the shop is applied, as one release", held=applied.code == 0, expected="exit code 0", seen=seen)
    state = _shop(scene)
    watch = Stopwatch()
    fleet = Fleet(state, xds=control.xds, ground=block, folder=folder, key=control.key, instances=INSTANCES)
    scene.running = await exits.enter_async_context(fleet)
    count = len(fleet.instances)
    teller.check(
        f"{count} real Envoys run, each with its configuration ({watch.seconds:.1f} s)",
        held=count > len(fleet.roles) > 0,
        expected="one an instance",
        seen=str(count),
    )
    waited = await scene.operator.types("wait", "1")
    seen = f"exit code {waited.code}"
    teller.check("every Envoy has acked release shop#1", held=waited.code == 0, expected="exit code 0", seen=seen)
    proxies = (await evidence.status(scene))["proxies"]
    synced = [one for one in proxies if one["state"] == "synced"]
    seen = f"{len(synced)} of {len(proxies)}"
    teller.check(
        "the control plane sees all of them in step", held=len(synced) == count, expected=str(count), seen=seen
    )
    drawn = await scene.operator.types("graph")
    teller.check("that is who depends on whom", held=drawn.code == 0, expected="exit code 0", seen=drawn.text)
    return scene


def _shop(scene: Scene) -> State:
    project = load_project(scene.tree / "meshwright.yaml")
    return load(project.definitions, project.load_settings()).state


def _addresses(scene: Scene) -> None:
    entrance = scene.running.entrance()
    door = f"http://{entrance.machine.address}:{entrance.role.ports[0].number}/"
    lines = (
        "It keeps running until Ctrl-C. Look around:",
        f"  export MESHWRIGHT_ENDPOINT={scene.control.url} AWS_SHARED_CREDENTIALS_FILE={scene.control.credentials}",
        f"  curl -H 'Host: {GATEWAY_HOST}' {door}",
        f"  cd {scene.tree} && meshwright status",
        *(f"  curl --unix-socket {one.admin} http://admin/clusters    # Envoy of {one.name}"
          for one in scene.running.instances),
    )  # fmt: skip
    scene.teller.end("\n".join(lines))
