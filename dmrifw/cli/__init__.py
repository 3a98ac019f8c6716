"""The command line: config files in, run folders out."""

from __future__ import annotations


def main() -> None:
    """Run the command that the arguments name, and exit with its status. Collective."""
    from dmrifw.cli.app import run

    raise SystemExit(run())
