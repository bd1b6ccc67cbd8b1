"""From what a frame says of a pose to the state of an object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from live.pose_batch import JudgedPoses
from live.tracked_pose import TrackState
from pose6d.search.evidence import fitting_share

# Log odds that a pose is within 0.1 diameter of the truth. Confidence, fit and texture are about what logistic
# regression on simulated sequences gives (benchmarks/live_tracking, --fit). It asks for -10 and -7 for the other two,
# but real depth spreads wider than simulated depth, and real objects stand on something.
_WEIGHTS = {"confidence": 0.6, "fit": 8.0, "spread": -3.0, "beyond": -3.0, "texture": 2.0}
_OFFSET = -6.0
CUES = tuple(_WEIGHTS)
_SUREST = 4.6  # log odds of a confidence that is as good as certain

_UNSEEN = -10.0  # log odds of a pose of which next to nothing is seen
LEAST_VISIBLE = 0.2  # share of the silhouette without which nothing is known of the pose
_STAY, _ENTER = 1.0, 2.0  # log odds with which an object stays `tracking`, and becomes it
_FOUND = 2.5  # log odds from which a pose that was searched for is looked at again
_MARGIN = 0.5  # log odds above that limit at the start
_STRANGE = 6.0  # log odds that a texture loses which correlates by so much less than it does for this object
_PLAIN = 6.0  # log odds that a pose loses where nothing is seen of the texture that is drawn
_FAINT = 0.15  # share of the drawn contrast from which a texture counts as seen: dim, blurred and faded ones have more
_WOBBLE = 0.3  # by which the correlation may fall short of the usual one: light and blur change it
_COLORED = 8.0  # log odds for each unit (logarithms of ratios of colours) that the colour is off by more than this:
_LIGHT = 0.6  # which light, exposure and another side of the object may change it by
_BRIGHTNESS = 0.5  # what brightness, which shade and exposure change most, counts for beside the tint
_WELL_SEEN = 0.7  # share of the silhouette that must be seen to learn what is usual
_LEARNING = 0.1  # share of a new frame in it
_MOST_CREDIT = 4.0  # log odds that an object which is judged too low at a start that people vouch for may get
_BELIEVED = 0.1  # probability of a registration up to which people's word does not count: right real poses had more
_CONFIRM = 2  # good frames in a row that make a found object `tracking`
_PATIENCE = 8  # frames without a good pose until an object is lost that something hides
_GONE = 3  # the same where nothing hides it


def cues(judged: JudgedPoses) -> dict[str, np.ndarray]:
    """(N,) each: what tells right poses from wrong ones.

    Hidden parts say nothing: `fit` is the share of what is not hidden that is seen where it should be.
    """
    seen = judged.evidence
    confidence = np.full(len(judged), 0.5) if judged.confidence is None else judged.confidence.astype(np.float64)
    odds = confidence.clip(1e-6, 1 - 1e-6)
    return {
        "confidence": np.log(odds / (1 - odds)).clip(-_SUREST, _SUREST),
        "fit": fitting_share(seen),
        "spread": seen["spread"],
        "beyond": seen["beyond"],
        "texture": seen["texture"],
    }


def log_odds(judged: JudgedPoses) -> np.ndarray:
    """(N,) log odds that each pose is right, before what its object is known to be judged wrong by."""
    total = _OFFSET + sum(_WEIGHTS[name] * value for name, value in cues(judged).items())
    # A plain surface of its shape, or a black picture, is no object with a print, whatever the scorer says.
    total = total - _PLAIN * np.maximum(1.0 - judged.evidence["contrast"] / _FAINT, 0.0)
    unseen = judged.evidence["visible"] * judged.evidence["inside"] < LEAST_VISIBLE
    return np.where(unseen, _UNSEEN, total)


def explained_share(evidence: Mapping[str, np.ndarray]) -> np.ndarray:
    """How much of the frame each pose explains, before it is refined to the end; of the shape of the evidence."""
    there = evidence["visible"] * (1.0 - 0.5 * evidence["spread"]) - evidence["through"] - 0.5 * evidence["beyond"]
    return (there + 0.5 * evidence["texture"]) * evidence["inside"]


def _colors(seen: Mapping[str, Any]) -> np.ndarray:
    """(..., 3) logarithms: by how much more red, and blue, there is for as much green than in the drawing, and by how
    much it is brighter, which counts for less."""
    red, green, blue = (np.asarray(seen[name]) for name in ("red", "green", "blue"))
    return np.stack([red - green, blue - green, _BRIGHTNESS * green], axis=-1)


@dataclass
class StateJudge:
    """The state of one object: what one frame says, with hysteresis.

    Attributes:
        state: of the object.
        credit: log odds added for this object, because its right pose is judged low.
        said: probability that the registration gave the pose it started from.
        weak: it was too low to be believed, and no frame since has been sure without the credit.
        rivals: the registration left other poses open, and no frame since has told them apart.
        unproven: a search came upon it, and no frame since has shown enough of it to tell it from what looks like a
            part of it, and which side of it is seen.
        usual: correlation of this object's texture while it is tracked and well seen; 0 before.
        color: what its tint and brightness beside the drawn ones are then, see `_colors`; None before.
        good, bad: frames in a row with and without a good pose.
    """

    state: TrackState = "lost"
    credit: float = 0.0
    said: float = 1.0
    weak: bool = False
    rivals: bool = False
    unproven: bool = False
    usual: float = 0.0
    color: np.ndarray | None = None
    good: int = 0
    bad: int = 0

    def log_odds(self, judged: JudgedPoses) -> np.ndarray:
        """(N,) log odds that poses of this object are right: `log_odds`, and how strange their texture and colour are.

        What has the shape and the light of the object, such as a plain board in front of it, does not have its texture;
        what has its shape and no texture either, such as another block, has another colour.
        """
        strange = _STRANGE * np.maximum(self.usual - _WOBBLE - judged.evidence["texture"], 0.0)
        return log_odds(judged) - strange - self.lost_by_color(judged.evidence)

    def lost_by_color(self, seen: Mapping[str, np.ndarray]) -> np.ndarray:
        """Log odds that poses lose because they have not the colour of this object; of the shape of the evidence."""
        if self.color is None:
            return np.zeros_like(seen["red"])
        off = np.linalg.norm(_colors(seen) - self.color, axis=-1)
        return _COLORED * np.maximum(off - _LIGHT, 0.0)

    def learn(self, seen: Mapping[str, float]) -> None:
        """What the texture and the colour of a good pose are, by its evidence, if enough of it is seen."""
        if seen["visible"] * seen["inside"] < _WELL_SEEN:
            return
        self.usual += (_LEARNING if self.usual > 0 else 1.0) * (max(seen["texture"], 0.0) - self.usual)
        now = _colors(seen)
        self.color = now if self.color is None else self.color + _LEARNING * (now - self.color)

    def forget_looks(self) -> None:
        """What was learned of its texture and colour is not its own: another side of it was followed."""
        self.usual, self.color = 0.0, None

    @property
    def unsure(self) -> bool:
        """Whether the registration itself did not know the pose, so that it is followed, but not called `tracking`."""
        return self.weak or self.rivals

    def start(self, odds: float, said: float = 1.0, rivals: bool = False) -> None:
        """The object was registered where people said that it is.

        Args:
            odds: of its pose.
            said: probability that the registration gives the pose; 1 where it gives none.
            rivals: it finds other poses about as likely.
        """
        self.credit = min(max(_ENTER + _MARGIN - odds, 0.0), _MOST_CREDIT)
        self.said, self.weak, self.rivals = said, said < _BELIEVED and odds < _ENTER, rivals
        self.good, self.bad = 0, 0
        self.state = "tracking" if self._is_good(odds, _ENTER) and not self.unsure else "doubtful"

    def found(self) -> None:
        """A search came upon the object: what it is worth the next frames tell."""
        self.state, self.good, self.bad, self.unproven = "doubtful", 1, 0, True

    def lose(self) -> None:
        """It is looked for from now on. A credit that rested on an unsure registration is not kept."""
        if self.unsure:
            self.credit, self.weak, self.rivals = 0.0, False, False
        self.state, self.good, self.bad, self.unproven = "lost", 0, 0, False

    def is_good(self, odds: float) -> bool:
        """Whether a pose of these log odds would let the object be, or stay, `tracking`."""
        return self._is_good(odds, _STAY if self.state == "tracking" or self.unsure else _ENTER)

    def is_sure(self, odds: float) -> bool:
        """Whether a pose of these log odds would make any object `tracking`."""
        return self._is_good(odds, _ENTER)

    def is_found(self, odds: float) -> bool:
        """Whether a search that came upon such a pose may end."""
        return self._is_good(odds, _FOUND)

    def probability(self, odds: float) -> float:
        """That a pose of these log odds is right; no more than the registration said while that is all there is."""
        return min(1.0 / (1.0 + math.exp(-odds - self.credit)), self.said if self.unsure else 1.0)

    def update(self, odds: float, hidden: float) -> TrackState:
        """The state after a frame.

        Args:
            odds: of the best pose in it.
            hidden: share of the silhouette of that pose that something hides.
        """
        if self.is_good(odds):
            self.good, self.bad = self.good + 1, 0
            self.weak = self.weak and odds < _ENTER
            if not (self.unsure or self.unproven) and (self.state == "tracking" or self.good >= _CONFIRM):
                self.state = "tracking"
        else:
            self.good, self.bad = 0, self.bad + 1
            gone = self.bad >= (_PATIENCE if hidden > 0.5 else _GONE)
            self.state = "doubtful"
            if gone:
                self.lose()
        return self.state

    def _is_good(self, odds: float, least: float) -> bool:
        return odds + self.credit >= least
