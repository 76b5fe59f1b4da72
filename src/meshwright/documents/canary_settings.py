"""The settings of canaries in `meshwright.yaml`.

The one rule: each is what the control plane would take, and told with its place where it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from meshwright.documents.positions import Items, described
from meshwright.release import CanarySettings
from meshwright.release.canary import weights_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshwright.documents.positions import Place

    Reader: TypeAlias = Callable[[Any, Place, str], Any]


def reading(fault: Callable[[Place, str], None]) -> dict[str, Reader]:
    """How each setting is read; what is wrong with one is a `fault`. The `steps` stay the text that they are."""

    def steps(value: Any, place: Place, name: str) -> str:
        text = ",".join(map(str, value)) if isinstance(value, Items) else str(value)
        try:
            weights_of(text)
        except ValueError as error:
            fault(place, f"{name} {error}; found {described(value)}.")
        return text

    def setting(value: Any, place: Place, name: str) -> Any:
        own = name.rpartition(".")[2]
        try:
            msgspec.convert({"weights": [1], own: None if _unlimited(own, value) else value}, CanarySettings)
        except msgspec.ValidationError as error:
            told = str(error).partition(" - at ")[0].replace("`", "")
            fault(place, f"{name}: {told}; found {described(value)}.")
        return value

    known: dict[str, Reader] = {"steps": steps}
    names = (one.name for one in msgspec.structs.fields(CanarySettings) if one.name != "weights")
    return known | dict.fromkeys(names, setting)


def _unlimited(name: str, value: Any) -> bool:
    return name == "max_duration" and value == 0
