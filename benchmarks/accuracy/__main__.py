"""Score any weights on all suites.

`python -m benchmarks.accuracy --weights base --mesh-folder MESHES --symmetric bowl foam_brick --output base.json`

prints the tables and leaves them beside the records as base.md, with the reliability diagram base.png, and pictures of
real frames as base.<recording>.png;
`--from-json base.json` makes both again from the records. All scenes follow from the seed and are made on the CPU, so
that every device and every number of workers sees the same ones. Without a folder of meshes, procedural objects from
held-out seeds are used.
"""

from __future__ import annotations

from benchmarks.accuracy.report import markdown, read_records, write_diagram
from benchmarks.accuracy.scoreboard import Options, run
from benchmarks.result_file import print_result
from pose6d.command import run_command_line


def main(options: Options) -> None:
    options.check("register", "track", "absent", "real")
    records, facts = run(options) if options.from_json is None else read_records(options.from_json)
    title = f"weights {facts['options'].get('weights')}"
    text = markdown(records, facts)
    print_result(text, lambda path: write_diagram(path, records, title), options.output, options.from_json)


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
