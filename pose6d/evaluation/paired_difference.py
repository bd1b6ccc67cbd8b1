"""Differences between two methods on the same scenes in points (hundredths), with both ends of their 95 % intervals."""

from __future__ import annotations

import math

import numpy as np

_Z = 1.96  # of a 95 % interval


def difference_of_shares(found: np.ndarray, wanted: np.ndarray) -> tuple[float, float, float]:
    """Share of hits in `found` (N,) bool less that in `wanted` (N,) bool, of the same scenes, and its 95 % interval.

    Source: Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data, Journal of Educational and Behavioral Statistics 37, 2012. It keeps a width where no scene differs.
    """
    n, gained, lost = len(found), int((found & ~wanted).sum()), int((~found & wanted).sum())
    p, q = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = _Z * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return 100 * (gained - lost) / n, 100 * max(-1.0, p - q - half), 100 * min(1.0, p - q + half)


def difference_of_means(found: np.ndarray, wanted: np.ndarray) -> tuple[float, float, float]:
    """Mean of `found` (N,) less that of `wanted` (N,), of the same scenes, and its 95 % interval (normal)."""
    differences = found - wanted
    half = _Z * float(differences.std(ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    mean = float(differences.mean())
    return 100 * mean, 100 * (mean - half), 100 * (mean + half)
