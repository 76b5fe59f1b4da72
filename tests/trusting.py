"""Trust files for tests: text in, the authority that a server would decide with out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meshwright.documents.trust_file import parsed
from meshwright.trust.authorization import Authority
from meshwright.trust.settling import settle

if TYPE_CHECKING:
    from meshwright.trust.settings import Trust

WIDE = """
version: 1
users:
  build: &wide
    stack: "*"
    owns: ["mesh/**"]
    may_change: ["mesh/**"]
    permissions: [everything]
  intruder: *wide
policies:
  everything: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}
"""
"""Two users beside the administrator who may do everything, for tests that are about something else."""


def trust(text: str, name: str = "trust.yaml") -> Trust:
    """What the text of a trust file declares."""
    return parsed(text, Path(name))


def authority(text: str, environment: str | None = None, account: str = "000000000000") -> Authority:
    """The authority of a server with this trust file."""
    return Authority(settle(trust(text), environment, account=account, region="us-east-1"))
