"""The confidence object by object, and by how much of the object shows and how much it tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.accuracy.scores import SuiteScores, score, select_judged
from pose6d.evaluation.record import Record

FEWEST = 10  # results; what fewer say of a confidence is chance
_VISIBLE = ((0.6, "below 60 %"), (0.9, "60 to 90 %"), (math.inf, "90 % and more"))
# Scans of plain things have 0.02 to 0.05, such as a brick's or a fruit's; printed boxes 0.25.
_TEXTURES = ((0.05, "plain: below 0.05"), (0.15, "some: 0.05 to 0.15"), (math.inf, "rich: 0.15 and more"))
_SIZES = ((2, "one pose"), (5, "2 to 4 poses"), (math.inf, "5 poses and more"))

# What results are binned by, and the bin of each; None where it has none.
BINNINGS: Mapping[str, Callable[[Record], str | None]] = {
    "object": lambda record: record.object,
    "visible": lambda record: _interval(record.visible, _VISIBLE),
    "texture": lambda record: _interval(record.texture, _TEXTURES),
    "look like the truth": lambda record: _interval(record.set_size, _SIZES),
}


@dataclass(frozen=True)
class Worst:
    """The bin where a measure is worst, among all bins with enough results: `label` says which one."""

    label: str
    value: float


def binned_scores(records: Sequence[Record], binning: str, *, by_set: bool = False) -> dict[str, SuiteScores]:
    """Scores by the bins of one of BINNINGS, of results whose object is there and whose confidence can be judged."""
    judged = [r for r in records if r.present and len(select_judged([r], by_set=by_set)[0])]
    bins: dict[str, list[Record]] = {}
    for record in judged:
        name = BINNINGS[binning](record)
        if name is not None:
            bins.setdefault(name, []).append(record)
    known = [name for intervals in (_VISIBLE, _TEXTURES, _SIZES) for _, name in intervals]
    order = sorted(bins, key=lambda name: (known.index(name), "") if name in known else (-1, name))
    return {name: score(bins[name], by_set=by_set) for name in order}


def worst_bins(records: Sequence[Record], *, by_set: bool = False) -> dict[str, Worst]:
    """By measure the worst bin with at least FEWEST results; {} where there is none."""
    worst: dict[str, Worst] = {}
    for binning in BINNINGS:
        for name, scores in binned_scores(records, binning, by_set=by_set).items():
            if scores.results < FEWEST:
                continue
            measures = (("ECE", scores.ece, 1), ("Brier", scores.brier, 1), ("risk at 70 %", scores.risk_70, 1),
                        ("ROC-AUC", scores.roc_auc, -1))  # fmt: skip
            for measure, value, sign in measures:
                if math.isnan(value):
                    continue
                if measure not in worst or sign * value > sign * worst[measure].value:
                    worst[measure] = Worst(f"{binning} {name}, {scores.results} results", value)
    return worst


def _interval(value: float | None, intervals: Sequence[tuple[float, str]]) -> str | None:
    return None if value is None else next(name for limit, name in intervals if value < limit)
