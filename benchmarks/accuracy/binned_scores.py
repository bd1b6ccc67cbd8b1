"""The confidence object by object, and by how much of the object shows and how much it tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from benchmarks.accuracy.scores import SuiteScores, score, select_judged
from pose6d.evaluation.record import Record

FEWEST = 10  # results; what fewer say of a confidence is chance
_VISIBLE = ((0.6, "below 60 %"), (0.9, "60 to 90 %"), (math.inf, "90 % and more"))
# Scans of plain things have 0.02 to 0.05, such as a brick's or a fruit's; printed boxes 0.25.
_TEXTURES = ((0.05, "plain: below 0.05"), (0.15, "some: 0.05 to 0.15"), (math.inf, "rich: 0.15 and more"))
_SIZES = ((2, "one pose"), (5, "2 to 4 poses"), (math.inf, "5 poses and more"))

# Title, name in SuiteScores, and 1 where a larger value is worse.
_MEASURES = (("ECE", "ece", 1), ("ROC-AUC", "roc_auc", -1), ("Brier", "brier", 1), ("risk at 70 %", "risk_70", 1))

# What results are binned by, and the bin of each; None where it has none.
BINNINGS: Mapping[str, Callable[[Record], str | None]] = {
    "object": lambda record: record.object,
    "visible": lambda record: _interval(record.visible, _VISIBLE),
    "texture": lambda record: _interval(record.texture, _TEXTURES),
    "look like the truth": lambda record: _interval(record.set_size, _SIZES),
}


def binned_scores(records: Sequence[Record], binning: str) -> dict[str, SuiteScores]:
    """Scores by the bins of one of BINNINGS, of results whose object is there and whose confidence can be judged."""
    judged = [r for r in records if r.present and len(select_judged([r])[0])]
    bins: dict[str, list[Record]] = {}
    for record in judged:
        name = BINNINGS[binning](record)
        if name is not None:
            bins.setdefault(name, []).append(record)
    known = [name for intervals in (_VISIBLE, _TEXTURES, _SIZES) for _, name in intervals]
    order = sorted(bins, key=lambda name: (known.index(name), "") if name in known else (-1, name))
    return {name: score(bins[name]) for name in order}


def worst_bins(bins: Mapping[str, SuiteScores]) -> dict[str, tuple[str, float]]:
    """By measure the bin where it is worst, of those with at least FEWEST results, and its value there."""
    enough = {name: scores for name, scores in bins.items() if scores.results >= FEWEST}
    worst = {}
    for measure, key, sign in _MEASURES:
        values = {name: getattr(scores, key) for name, scores in enough.items()}
        known = {name: value for name, value in values.items() if not math.isnan(value)}
        if known:
            name = max(known, key=lambda name: sign * known[name])
            worst[measure] = name, known[name]
    return worst


def _interval(value: float | None, intervals: Sequence[tuple[float, str]]) -> str | None:
    return None if value is None else next(name for limit, name in intervals if value < limit)
