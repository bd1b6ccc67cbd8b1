"""How likely each of the last hypotheses is, and that none of them is right.

The scorer ranks hypotheses by what each looks like beside the frame. For the last few this is not enough: two sides of
a nearly symmetric object get nearly the same rank. Here every two of them are compared with each other, by all there is
to go by, and share the probability that the search has found the object at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pose6d.search.interfaces import ChoiceWeights, Hypotheses
from pose6d.search.pair_evidence import PairEvidence

LEAST = 1e-3
"""probability below which an alternative is not worth naming"""
_CLEAR = 4.0  # standard scores; neighbouring pixels err together, so that much more counts little more
_CERTAIN = 1e-6  # nearest that a confidence comes to 0 or 1


class Alternative(NamedTuple):
    """A pose that the object may have.

    Attributes:
        pose: (4, 4) float32, original mesh in camera, metres.
        probability: that it is within 0.1 diameter, or looks the same from all sides as a pose that is.
    """

    pose: np.ndarray
    probability: float


def weigh(
    hypotheses: Hypotheses, judged: Tensor, texture: Tensor, evidence: PairEvidence, weights: ChoiceWeights
) -> tuple[Tensor, Tensor]:
    """Utility and probability of each hypothesis.

    The evidence between two hypotheses is a weighted sum, the logarithm of the odds. A hypothesis' utility is its
    evidence against the others in the mean, the likelier ones counting more; the probabilities are a softmax of that,
    times the confidence in the best. Which of them is right is asked of the colours as they are; whether any is right,
    of the colours in the light that fits (`Scorer.judge`), since another camera may have scanned them.

    Args:
        hypotheses: N, with ranking and confidence; these and all others may have batch dimensions in front.
        judged: (N,) confidence, of `Scorer.judge`.
        texture: (N,) `texture_correlation`; 0 for an object without texture.
        evidence: of `compare_poses`.
        weights: of the scorer.

    Returns:
        (N,) and (N,), the latter of a sum below 1.
    """
    assert hypotheses.ranking is not None and hypotheses.confidence is not None
    sure = hypotheses.confidence.clamp(_CERTAIN, 1 - _CERTAIN).logit()
    single = weights.ranking * hypotheses.ranking + weights.texture * texture + weights.confidence * sure
    between = weights.color * _shorten(evidence.color) + weights.shape * _shorten(evidence.shape)
    odds = single[..., :, None] - single[..., None, :] + between
    others = 1.0 - torch.eye(odds.shape[-1], device=odds.device)
    rivals = torch.softmax(odds.mean(dim=-1), dim=-1)[..., None, :] * others
    utility = (odds * rivals).sum(dim=-1) / (rivals.sum(dim=-1) + 1e-3)
    found = judged.gather(-1, utility.argmax(dim=-1, keepdim=True))
    return utility, torch.softmax(utility, dim=-1) * found


def _shorten(scores: Tensor) -> Tensor:
    return scores.sign() * torch.log1p(scores.abs() / _CLEAR)


def join_alike(poses: np.ndarray, probability: np.ndarray, alike: np.ndarray) -> list[Alternative]:
    """The poses that are left when those that count as one are joined.

    Args:
        poses: (N, 4, 4), likeliest first.
        probability: (N,).
        alike: (N, N) bool, which count as one.

    Returns:
        Likeliest first, but for the first pose, which stays first; the others of at least `LEAST`.
    """
    free = np.ones(len(poses), dtype=bool)
    joined = []
    for index in range(len(poses)):
        if free[index]:
            own = free & alike[index]
            joined.append(Alternative(poses[index].copy(), float(probability[own].sum())))
            free &= ~own
            free[index] = False
    first, *others = joined
    return [first, *sorted((a for a in others if a.probability >= LEAST), key=lambda a: -a.probability)]


def none_of(alternatives: Sequence[Alternative]) -> float:
    """The probability that is left for none of them."""
    return max(0.0, 1.0 - sum(alternative.probability for alternative in alternatives))
