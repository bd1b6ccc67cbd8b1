"""Find an object in the first frame of an RGB-D recording and track it through the others.

Without arguments it runs the avocado scene, which is made on first use. For your own object:

    python run_demo.py --mesh_file cup.obj --test_scene_dir recordings/cup
    python run_demo.py --reference_views pictures_of_cup --test_scene_dir recordings/cup

A recording is a folder: rgb/ depth/ masks/ cam_K.txt, or JPEGImages/ depth/ intrinsics.json, or a BOP scene.

With --source realsense, or a file or folder, objects are followed live: python run_demo.py --source realsense --help.

Exit code: 0 for success, 2 for bad input, 3 where some frames could not be used, 130 after Ctrl-C, 143 after SIGTERM,
129 after SIGHUP; if tracking had begun by then, all results of the frames that are done are written.
"""

from __future__ import annotations

import sys

from pose6d.command import read_options, run_command
from pose6d.one_heap import use_one_heap
from pose6d.quick_imports import quick_imports


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = sys.argv[1:] if args is None else args
    if any(arg.partition("=")[0] == "--source" for arg in given):
        from live.__main__ import main as live_main

        return live_main(given)
    return run_command(lambda: _run(given))


def _run(args: list[str]) -> int:
    from recorded.options import RecordedOptions

    options = read_options(RecordedOptions, args=args, description=__doc__, use_underscores=True)
    use_one_heap()
    with quick_imports():  # after the options are read: --help and a typing error need not wait for PyTorch
        from recorded.run import run_recorded
    return run_recorded(options)


if __name__ == "__main__":
    sys.exit(main())
