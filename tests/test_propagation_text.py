"""What `wait` and `apply` say of how far a release has come, where there is little to say."""

from __future__ import annotations

from typing import Any

import pytest

from meshwright.views.releases import propagation_text


@pytest.mark.parametrize(
    ("tally", "said"),
    [
        (None, "shop#2 changes nothing for any of the connected proxies."),
        (
            {"acked": 2, "pending": 1, "rejected": 0, "first_sent_at": 5, "last_acked_at": 6},
            (
                "shop#2 changes nothing for any of the connected proxies; of those that it concerned and that left, "
                "2 had it and 1 not."
            ),
        ),
    ],
)
def test_whom_a_release_concerned_and_who_left_is_not_forgotten(tally: dict[str, Any] | None, said: str) -> None:
    """That nobody who is connected is concerned does not mean that nobody was."""
    found = {"release": "shop#2", "revision": 2, "state": "propagated", "acked": [], "tally": tally}
    assert propagation_text(found) == f"{said}\n"
