"""Score any weights on all suites.

`python -m benchmarks.accuracy --weights base --mesh-folder MESHES --symmetric bowl foam_brick --output base.json`

prints the tables and leaves them beside the records as base.md, with the reliability diagram base.png, and pictures of
real frames as base.<recording>.png;
`--from-json base.json` makes both again from the records. All scenes follow from the seed and are made on the CPU, so
that every device and every number of workers sees the same ones. Without a folder of meshes, procedural objects from
held-out seeds are used.
"""

from __future__ import annotations

from benchmarks.accuracy.report import markdown, read_json, write_diagram
from benchmarks.accuracy.scoreboard import Options, run
from benchmarks.accuracy.suites import SUITES
from pose6d.command import run_command_line
from pose6d.errors import OptionError
from pose6d.whole_file import write_whole


def main(options: Options) -> None:
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        raise OptionError(f"--suites {' '.join(unknown)}: unknown; there are {', '.join(SUITES)}")
    if options.scenes < 1:
        raise OptionError(f"--scenes {options.scenes}: at least one is needed")
    if options.from_json is not None:
        records, facts = read_json(options.from_json)
    else:
        records, facts = run(options)
    text = markdown(records, facts)
    print(text)
    beside = options.output or options.from_json
    if beside is not None:
        write_whole(beside.with_suffix(".md"), text)
        print(write_diagram(beside.with_suffix(".png"), records, f"weights {facts['options'].get('weights')}"))


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
