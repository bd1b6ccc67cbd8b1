"""Time everything, from host arrays to a pose on the host.

`python -m benchmarks.speed --weights base --mesh-folder MESHES --output speed.json`

prints a table per section and leaves them beside the numbers as speed.md, with the figure speed.png;
`--from-json speed.json` makes both again. `--sections register track` takes a part.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from benchmarks.result_file import print_result
from benchmarks.speed.bench import Bench, Table, free_unused_memory
from benchmarks.speed.cold_start import cold_start
from benchmarks.speed.growth import image_sizes, mesh_sizes, objects
from benchmarks.speed.options import Options
from benchmarks.speed.report import markdown, read_tables, write_figure, write_tables
from benchmarks.speed.sections import hypotheses, register, stages, track
from benchmarks.versions import versions
from pose6d.command import run_command_line
from pose6d.errors import OptionError
from pose6d.search.schedule import SCHEDULES
from pose6d.weights import find_weights

MEASURE: dict[str, Callable[[Bench], Table]] = {
    "stages": stages,
    "register": register,
    "track": track,
    "objects": objects,
    "image sizes": image_sizes,
    "mesh sizes": mesh_sizes,
    "hypotheses": hypotheses,
    "cold start": cold_start,
}


def run(options: Options) -> tuple[dict[str, Table], dict[str, Any]]:
    """Measure the sections; the tables, and what they were made with."""
    unknown = [name for name in options.schedules if name not in SCHEDULES]
    if unknown:
        raise OptionError(f"--schedules {' '.join(unknown)}: unknown; there are {', '.join(SCHEDULES)}")
    start = time.perf_counter()
    bench = Bench(options)
    mesh = bench.mesh
    look = "textured" if mesh.texture is not None else "untextured"
    tables, seconds = {}, {}
    for name in options.sections:
        begun = time.perf_counter()
        tables[name] = MEASURE[name](bench)
        free_unused_memory()
        seconds[name] = round(time.perf_counter() - begun, 1)
        print(f"{name}: measured in {seconds[name]} s", file=sys.stderr)
    facts = {
        **versions(bench.device),
        "weights": find_weights(options.weights, "refiner", bench.device.type).parent.name,
        "object": f"{mesh.name}, {len(mesh.faces)} faces, {look}, {1000 * mesh.diameter:.0f} mm",
        "timed calls": f"{bench.options.repeats} of register after {bench.options.warm_ups} warm-ups",
        "seconds": {**seconds, "all": round(time.perf_counter() - start, 1)},
        "options": asdict(bench.options),
    }
    return tables, facts


def main(options: Options) -> None:
    """Measure or read, print, and write what `output` asks for."""
    tables, facts = read_tables(options.from_json) if options.from_json is not None else run(options)
    if options.output is not None:
        write_tables(options.output, tables, facts)
    text = markdown(tables, facts)
    print_result(text, lambda path: write_figure(path, tables, facts), options.output, options.from_json)


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
