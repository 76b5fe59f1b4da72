"""Loopback addresses for a lab: a /16 of 127/8 that no other lab on this machine uses.

A block is taken by binding a socket in it, so that the kernel refuses it to everyone else and frees it with us.
"""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING, Self

from meshwright.errors import MeshwrightError
from meshwright.lab.machines import Machine, on_loopback
from meshwright.lab.sockets import HERE
from meshwright.snapshot.resources import Loopback

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from meshwright.proxy.settings import Address

_LOW, _HIGH = 64, 250
"""Second numbers of the blocks; below, other programs (`127.0.0.53`) have settled."""
_CLAIM_PORT = 47_199


class Block:
    """`127.N.*.*`: one lab: 127.N.0.1 to 4 for the lab itself, the others by threes for its proxies."""

    def __init__(self) -> None:
        """Claim a free block.

        Raises:
            MeshwrightError: every block is taken, or this machine has no addresses beyond 127.0.0.1.
        """
        numbers = list(range(_LOW, _HIGH))
        # Chance keeps labs that start together from trying the same blocks one after the other.
        random.shuffle(numbers)
        fault: OSError | None = None
        for number in numbers:
            claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                claim.bind((f"127.{number}.0.1", _CLAIM_PORT))
            except OSError as error:
                claim.close()
                fault = error
                continue
            self._claim = claim
            self._number = number
            self._given = 0
            self.control_plane = self.collector = f"127.{number}.0.2"
            self.name_server = f"127.{number}.0.3"
            self.outside = f"127.{number}.0.4"
            return
        raise MeshwrightError(
            f"No free block of loopback addresses from 127.{_LOW} to 127.{_HIGH - 1}: {fault}. "
            "Stop other labs; on macOS, add the addresses with 'ifconfig lo0 alias'."
        )

    port = 0
    nobody = ""
    inside = HERE

    def machines(self, ports: Sequence[Sequence[int]]) -> list[Machine]:
        """A machine for each of the instances that listen on `ports`.

        Raises:
            MeshwrightError: the block is used up.
        """
        return [on_loopback(self.place()) for _ in ports]

    def intercept(self, machines: Sequence[tuple[Machine, Sequence[int]]]) -> None:
        """Let the instances on `machines` listen on other ports: nothing is intercepted here."""

    async def passing_on(self, address: Address) -> Address:
        """Where machines reach what listens at an address of this process's network: there."""
        return address

    def place(self) -> Loopback:
        """Three addresses for another proxy.

        Raises:
            MeshwrightError: the block is used up.
        """
        self._given += 1
        high, low = divmod(self._given, 64)
        if high > 255:
            raise MeshwrightError("A lab has addresses for 16,383 proxies, and they are used up")
        # The K-th proxy has 127.N.(K / 64).(4 * (K mod 64) + 1, 2, 3); K counts from 1, so 127.N.0.1-4 stay ours.
        one, two, three = (f"127.{self._number}.{high}.{4 * low + place}" for place in (1, 2, 3))
        return Loopback(application=one, ingress=two, egress=three)

    def release(self) -> None:
        """Give the block back."""
        self._claim.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
