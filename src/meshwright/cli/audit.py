"""`meshwright audit`: whether the log still says what happened, and what leaves the machine to prove it.

The one rule: what is printed can be checked elsewhere, with the public key and nothing else of this machine.
"""

from __future__ import annotations

import click

from meshwright.cli.audit_checkpoint import checkpoint, key
from meshwright.cli.audit_export import export
from meshwright.cli.audit_log import log
from meshwright.cli.audit_prove import check_proof, prove
from meshwright.cli.audit_verify import verify


@click.group("audit")
def command() -> None:
    """Verify, export and publish the audit log."""


for one in (verify, log, export, checkpoint, key, prove, check_proof):
    command.add_command(one)
