"""`python -m benchmarks [NAME…] [--write FILE]`: run the benchmarks and print their tables."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.process import end_when_asked
from benchmarks.report import machine

NAMES = ("startup", "validate", "xds", "api", "releases", "testing")


def main() -> None:
    """Run what was asked for, in order."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks")
    arguments.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=f"of {', '.join(NAMES)}")
    arguments.add_argument("--write", type=Path, metavar="FILE", help="write the tables as Markdown too")
    chosen = arguments.parse_args()
    parts = ["# Benchmarks", "", f"Measured on {machine()}. Compare within a table, not across runs.", ""]
    for name in chosen.names or NAMES:
        print(f"Running {name} …", file=sys.stderr)
        table = importlib.import_module(f"benchmarks.{name}").run().markdown()
        print(table)
        parts.append(table)
    if chosen.write:
        chosen.write.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    end_when_asked()
    main()
