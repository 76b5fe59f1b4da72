"""Many commands of the stock AWS CLI in one process of its own environment; run by its interpreter, not by ours.

Reads a list of argument lists as JSON from standard input; writes exit code, output and errors of each.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from typing import Any


def run(driver: Any, arguments: list[str]) -> tuple[int, str, str]:
    """One command as `aws` would do it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = driver.main(arguments)
        except SystemExit as ended:
            code = ended.code
    return int(code or 0), out.getvalue(), err.getvalue()


if __name__ == "__main__":
    one = importlib.import_module("awscli.clidriver").create_clidriver()
    json.dump([run(one, arguments) for arguments in json.load(sys.stdin)], sys.stdout)
