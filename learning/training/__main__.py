"""Draw the curves of one or several training runs: `python -m learning.training RUN_FOLDER... --out curves.png`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from learning.training.loop import read_log
from learning.training.training_plot import write_training_plot
from pose6d.command import run_command_line
from pose6d.errors import TrainingError


@dataclass
class Options:
    """Which runs to draw."""

    run_folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """folders that train_refiner or train_scorer wrote"""
    out: Path = Path("curves.png")
    """the picture"""


def main(options: Options) -> None:
    """Draw, and say where."""
    runs = {}
    for folder in options.run_folders:
        if not (folder / "log.jsonl").is_file():
            raise TrainingError(f"{folder} holds no log.jsonl: is it the --run_folder of a training?")
        runs[str(folder)] = list(read_log(folder))
    print(f"curves: {write_training_plot(options.out, runs)}")


if __name__ == "__main__":
    run_command_line(main, Options)
