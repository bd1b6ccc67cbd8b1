"""Follow objects before a camera: `python -m live --source realsense --mesh_file cup.obj`; docs/live.md says more."""

from __future__ import annotations

import sys

import tyro

from live.options import LiveOptions
from live.session import run_live
from pose6d.command import run_command


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: run_live(tyro.cli(LiveOptions, args=args, description=__doc__, use_underscores=True)))


if __name__ == "__main__":
    sys.exit(main())
