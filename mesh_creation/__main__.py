"""`python -m mesh_creation <step>`: a mesh of your own object from an RGB-D camera."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pose6d.command import BAD_INPUT, read_options, run_command
from pose6d.errors import MissingDependencyError
from pose6d.quick_imports import quick_imports

# Step -> module, its options, what it does. Modules are loaded when asked for: some need extras.
_STEPS = {
    "board": ("mesh_creation.board.pdf", "BoardOptions", "print a board of markers"),
    "record": (
        "mesh_creation.recording.record",
        "RecordOptions",
        "film with a RealSense camera, or import its recording, a ROS bag or a folder",
    ),
    "register": ("mesh_creation.registration.register", "RegisterOptions", "find the camera of every frame"),
    "fuse": ("mesh_creation.fusion.fuse", "FuseOptions", "make the textured mesh"),
    "label": ("mesh_creation.labels.label", "LabelOptions", "write poses, masks and boxes of every frame"),
    "run": ("mesh_creation.__main__", "RunOptions", "register, fuse and label a scan; finished steps are skipped"),
    "from_video": (
        "mesh_creation.markerless.from_video",
        "FromVideoOptions",
        "no board: posed views of an object from a video; the mask of the first frame is given",
    ),
    "from_views": (
        "mesh_creation.reference_views.from_views",
        "FromViewsOptions",
        "no board: make the textured mesh from posed pictures of the object",
    ),
    "simulate": (
        "mesh_creation.simulation.simulate",
        "SimulateOptions",
        "make a recording with ground truth, without a camera",
    ),
}
_FINISHED = {"register": "registration.json", "fuse": "mesh/metadata.json", "label": "labels/labels.json"}


@dataclass(frozen=True)
class RunOptions:
    """Register, fuse and label a scan. A step that is finished is skipped; a step that was killed is done again."""

    scan: Path
    """the scan's folder"""
    flipped: Path | None = None
    """a second recording of the same object, standing upside down; a mesh made without it is made again"""


def run(options: RunOptions) -> Path:
    """Make the mesh and the labels of a scan; the scan's folder."""
    scans = [options.scan] if options.flipped is None else [options.scan, options.flipped]
    for scan in scans:
        _do("register", scan)
    _do("fuse", options.scan, again=_lacks(options.scan, options.flipped), flipped=options.flipped)
    mesh = options.scan / _FINISHED["fuse"]
    for scan in scans:
        labels = scan / _FINISHED["label"]
        _do("label", scan, again=labels.is_file() and labels.stat().st_mtime < mesh.stat().st_mtime)
    return options.scan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one step; returns the exit code."""
    step, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if step not in _STEPS:
        listed = "\n".join(f"  {name:<10} {what}" for name, (_, _, what) in _STEPS.items())
        usage = f"usage: python -m mesh_creation <step> [options]; --help after a step lists its options\n{listed}"
        if step in ("-h", "--help"):
            print(usage)
            return 0
        print(f"error: {step!r} is no step\n{usage}", file=sys.stderr)
        return BAD_INPUT
    # Numba has other ways to run threads, and what it says about this one helps nobody.
    warnings.filterwarnings("ignore", message="The TBB threading layer")

    def do() -> None:
        import tyro

        options, action = _load(step)
        program = f"python -m mesh_creation {step}"
        # Options in groups are written like others, but for simulate, whose groups share names.
        config = () if step == "simulate" else (tyro.conf.OmitArgPrefixes,)
        action(read_options(options, args=rest, prog=program, use_underscores=True, config=config))

    return run_command(do, f"{step}: interrupted")  # record keeps what it has


def _load(step: str) -> tuple[type, Callable[[Any], Any]]:
    """The options of a step and what does it."""
    if step == "run":
        return RunOptions, run
    module_name, options, _ = _STEPS[step]
    try:
        with quick_imports():
            module = import_module(module_name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "open3d":
            raise MissingDependencyError(f"{step} needs open3d: pip install 'pose6d[scan]'") from error
        raise
    return getattr(module, options), module.main


def _lacks(scan: Path, flipped: Path | None) -> bool:
    """Whether there is a mesh, made without the flipped recording or with another one."""
    metadata = scan / _FINISHED["fuse"]
    if flipped is None or not metadata.is_file():
        return False
    from pose6d.json_file import read_json  # with numpy, which --help need not wait for

    used = read_json(metadata).get("flipped") or {}
    return "scan" not in used or Path(used["scan"]).resolve() != flipped.resolve()


def _do(step: str, scan: Path, *, again: bool = False, **more: Any) -> None:
    """Do a step unless it is finished; `again` if what it was made from has changed since."""
    if again:
        print(f"{step}: {scan} is done again, with what is new")
    elif (scan / _FINISHED[step]).is_file():
        print(f"{step}: {scan} is finished, skipped")
        return
    options, action = _load(step)
    action(options(scan=scan, overwrite=again, **more))


if __name__ == "__main__":
    sys.exit(main())
