"""AR, the score of the BOP Challenge: recall averaged over thresholds and over VSD, MSSD and MSPD.

Hodan et al., BOP Challenge 2020 on 6D Object Localization, ECCVW 2020, section 2.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

# An estimate is right where its error is below: VSD as it is, MSSD in diameters, MSPD in pixels of a 640 wide image.
THRESHOLDS: dict[str, np.ndarray] = {
    "vsd": np.arange(0.05, 0.51, 0.05),
    "mssd": np.arange(0.05, 0.51, 0.05),
    "mspd": np.arange(5.0, 51.0, 5.0),
}
MSPD_WIDTH = 640


def match(errors: np.ndarray, threshold: float) -> np.ndarray:
    """Give estimates to true poses, one to one.

    In the order of the rows each estimate takes the nearest pose that is still free, if its error is below the
    threshold. As in the BOP toolkit.

    Args:
        errors: (E, G) of each estimate to each true pose, estimates by falling score.
        threshold: an estimate matches below it.

    Returns:
        (G,) int, the estimate that each true pose got, -1 where none.
    """
    matches = np.full(errors.shape[1], -1)
    free = np.array(errors, dtype=np.float64)
    for estimate in range(len(free) if errors.shape[1] else 0):
        truth = int(np.argmin(free[estimate]))
        if free[estimate, truth] < threshold:
            matches[truth] = estimate
            free[:, truth] = np.inf
    return matches


def count_found(errors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """How many true poses of one target are found at each threshold.

    Args:
        errors: "vsd" (T, E, G), T tolerances; "mssd" (E, G) in diameters; "mspd" (E, G) in pixels of a 640 wide image;
            estimates by falling score.

    Returns:
        Counts: "vsd" (T, 10), "mssd" and "mspd" (1, 10).
    """
    return {
        name: np.array(
            [
                [(match(one, threshold) >= 0).sum() for threshold in thresholds]
                for one in (errors[name] if name == "vsd" else errors[name][None])
            ]
        )
        for name, thresholds in THRESHOLDS.items()
    }


def average_recall(counts: Iterable[Mapping[str, np.ndarray]], instances: int) -> dict[str, float]:
    """AR of many targets.

    Args:
        counts: of `count_found`, one per target.
        instances: true poses of all targets together.

    Returns:
        AR_VSD, AR_MSSD, AR_MSPD and their mean AR; nan where there is nothing to find.
    """
    counts = list(counts)
    parts = {
        f"AR_{name.upper()}": float(sum((c[name] for c in counts), np.zeros(1)).mean() / instances)
        if instances
        else float("nan")
        for name in THRESHOLDS
    }
    return {"AR": float(np.mean(list(parts.values()))), **parts}
