"""Look at recordings.

`python -m pose6d.scenes doctor FOLDER` opens a recording and says what of its camera looks wrong, and the cure:
intrinsics, depth that is missing or in another unit, and depth that lies beside colour.

Exit code: 0 where all is well, 1 where something should be looked at, 2 for bad input.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from pose6d.command import read_subcommand, run_command
from pose6d.errors import OptionError
from pose6d.scenes import open_scene
from pose6d.scenes.doctor import edge_picture, examine_recording
from pose6d.scenes.images import write_image
from pose6d.scenes.selection import select_frames

OK, PROBLEMS = 0, 1
_MOST_FRAMES = 20


@dataclass(frozen=True)
class Doctor:
    """Say what of a recording's camera looks wrong."""

    folder: tyro.conf.Positional[Path]
    """The recording, of any layout that can be read."""
    frames: str = ":"
    """Which frames: "30" is the first 30, "10:40" or "0:90:3" select as in Python. At most 20 of them are looked at."""
    depth_scale: float | None = None
    """Metres per depth unit. Default: what the recording's files say, else 0.001 (millimetres)."""
    cropped: bool = False
    """The pictures are cut out of larger ones: accept any principal point."""
    out: Path | None = None
    """PNG to write: the edges of depth over the colour of the first frame, as recorded and with depth moved back."""


def doctor(options: Doctor) -> int:
    """See `Doctor`; returns the exit code."""
    if options.out is not None and options.out.suffix.lower() != ".png":
        raise OptionError(f"--out is {options.out}: wanted the name of a picture that ends in .png")
    scene = open_scene(options.folder, depth_scale=options.depth_scale, cropped=options.cropped)
    chosen = select_frames(options.frames, len(scene))
    count = min(len(chosen), _MOST_FRAMES)
    indices = [chosen[i * len(chosen) // count] for i in range(count)]
    print(f"recording: {scene.path}: {scene.description}; {count} of its frames are looked at")
    findings, offset, first = examine_recording(scene, indices)
    for finding in findings:
        print(f"{finding.subject}: {finding.text}")
        if finding.cure:
            print(f"  look at this: {finding.cure}")
    if options.out is not None:
        write_image(options.out, edge_picture(first, offset.pixels if offset.known else (0, 0)))
        print(f"wrote {options.out}")
    return PROBLEMS if any(finding.cure for finding in findings) else OK


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = read_subcommand(
        {"doctor": Doctor}, prog="python -m pose6d.scenes", args=args, description=__doc__, use_underscores=True
    )
    return run_command(lambda: doctor(options))


if __name__ == "__main__":
    sys.exit(main())
