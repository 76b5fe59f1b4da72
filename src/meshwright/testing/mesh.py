"""The mesh that runs, as tests in Python see it.

The one rule: nothing here changes it but `fault`, and what that changes ends with its block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.model.identity import Kind
from meshwright.testing.sending import Send
from meshwright.testing.words import Fault

if TYPE_CHECKING:
    from meshwright.testing.running import Running


class Mesh:
    """The fixture `mesh`."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.send = Send(running)
        self.fault = Fault(running)

    @property
    def name(self) -> str:
        """The mesh's name."""
        return self._running.graph.state.meshes[0]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of its virtual nodes."""
        return self._names(Kind.VIRTUAL_NODE)

    @property
    def gateways(self) -> tuple[str, ...]:
        """The names of its virtual gateways."""
        return self._names(Kind.VIRTUAL_GATEWAY)

    @property
    def services(self) -> tuple[str, ...]:
        """The names of its virtual services."""
        return self._names(Kind.VIRTUAL_SERVICE)

    def instances(self, name: str) -> tuple[str, ...]:
        """The instances that run of a virtual node or gateway, such as `payment-v1-1`.

        Raises:
            UsageError: there is no such node or gateway.
        """
        rig = self._running.rig
        return tuple(one.name for one in rig.instances(rig.named(name)))

    def _names(self, kind: Kind) -> tuple[str, ...]:
        return tuple(one.key.name for one in self._running.graph.state.of(kind))

    def __repr__(self) -> str:
        return f"<mesh {self.name}: {len(self.nodes)} virtual nodes, {len(self.gateways)} virtual gateways>"
