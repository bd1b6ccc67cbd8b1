"""Follow objects before a camera: `python -m live --source realsense --mesh_file cup.obj`; docs/live.md says more."""

from __future__ import annotations

import sys

from pose6d.command import read_options, run_command
from pose6d.one_heap import use_one_heap
from pose6d.quick_imports import quick_imports


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(lambda: _run(args))


def _run(args: list[str] | None) -> int:
    from live.options import LiveOptions

    options = read_options(LiveOptions, args=args, description=__doc__, use_underscores=True)
    use_one_heap()
    with quick_imports():
        from live.session import run_live
    return run_live(options)


if __name__ == "__main__":
    sys.exit(main())
