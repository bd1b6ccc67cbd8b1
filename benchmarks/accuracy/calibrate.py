"""Fit the confidence of trained weights to how often their poses are right.

Score them on the built-in objects, with another seed than for the scores that are reported, then fit:

    python -m benchmarks.accuracy --weights FOLDER --suites cluttered occluded absent --seed 11 --output records.json
    python -m benchmarks.accuracy.calibrate --records records.json --weights FOLDER
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scipy.special import expit, logit

from benchmarks.accuracy.report import read_json
from benchmarks.accuracy.scores import select_judged
from pose6d import json_file
from pose6d.command import run_command_line
from pose6d.errors import ResultsError, WeightsError
from pose6d.evaluation.calibration import expected_calibration_error, fit_platt


@dataclass
class Options:
    """What to fit on, and whose confidence."""

    records: Path
    """JSON that benchmarks.accuracy wrote for these weights"""
    weights: Path
    """folder with scorer.json, which gets the new scale and offset"""


def main(options: Options) -> None:
    records, _ = read_json(options.records)
    confidence, right = select_judged(records)
    if len(confidence) == 0:
        raise ResultsError(f"{options.records} holds no confidences: do these weights have that head?")
    if right.all() or not right.any():
        raise ResultsError(f"{options.records}: all poses are {'right' if right.all() else 'wrong'}; both are needed")
    scale, offset = fit_platt(confidence, right)
    file = options.weights / "scorer.json"
    config = json_file.read_json(file, WeightsError)
    config["confidence_scale"] = float(config["confidence_scale"] * scale)
    config["confidence_offset"] = float(config["confidence_offset"] * scale + offset)
    json_file.write_json(file, config)
    fitted = expit(scale * logit(confidence.clip(1e-7, 1 - 1e-7)) + offset)
    before, after = (expected_calibration_error(values, right) for values in (confidence, fitted))
    print(f"{len(right)} poses, {100 * right.mean():.1f}% right; ECE {before:.3f} before, {after:.3f} after")
    print(f"{file}: scale {config['confidence_scale']:.4f}, offset {config['confidence_offset']:.4f}")


if __name__ == "__main__":
    run_command_line(main, Options)
