"""What the estimator asks of its parts: whatever fulfils these protocols can take a part's place.

Everything is batched, on one device, in metres and camera axes (x right, y down, z forward). Poses are those of the
centred object: the original one moved by -center.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from pose6d.errors import Pose6DError
from pose6d.geometry.observation import Observation
from pose6d.rendering.interface import Rendering, Shading

Progress = Callable[[int], object]
"""called with the number of pairs of images that a network has seen since the last call"""

Watch = Callable[[str, Tensor, Tensor], object]
"""called after each step of a registration with the step's name, the hypotheses (N, 4, 4), original object in camera,
and (N,) int64: which of the hypotheses before the step each comes from"""


class Scores(NamedTuple):
    """What a scorer says of the hypotheses of one or several objects.

    Attributes:
        ranking: (G, L) or (L,), higher is better, comparable within a row only.
        confidence: the same shape, how sure it is that a pose is right, comparable everywhere; a logit as the network
            gives it, a probability as `ScorePredictor` does. None where the network has no such head.
        features: (L, D) what the scorer has seen of each hypothesis by itself, so that it need not look again where
            the same ones are scored among others; None where it must.
    """

    ranking: Tensor
    confidence: Tensor | None
    features: Tensor | None = None


class ChoiceWeights(NamedTuple):
    """What each piece of evidence between two of the last hypotheses counts, as logarithms of odds.

    Attributes:
        ranking, texture, confidence: of the difference in the scorer's ranking, in the correlation of the texture, and
            in the logit of the confidence.
        color, shape: of `pose6d.search.pair_evidence`.
    """

    ranking: float
    texture: float
    confidence: float
    color: float
    shape: float


@dataclass(frozen=True)
class Hypotheses:
    """Poses that may be the right one.

    Attributes:
        poses: (N, 4, 4) float32, centred object in camera.
        ranking: (N,) higher is better; None before they are scored.
        confidence: (N,) probability of being right; None before, and where the scorer has none.
        shared_window: all have one translation, and so look at the same part of the frame.
        features: (M, D) of the first M, as their scorer gave them (`Scores`); None before.
    """

    poses: Tensor
    ranking: Tensor | None = None
    confidence: Tensor | None = None
    shared_window: bool = False
    features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.poses)

    def take(self, rows: Tensor) -> Hypotheses:
        """Some of them, in the order of the indices (M,)."""
        ranking, confidence = (None if x is None else x[rows] for x in (self.ranking, self.confidence))
        features = None if self.features is None or len(self.features) < len(self) else self.features[rows]
        return replace(self, poses=self.poses[rows], ranking=ranking, confidence=confidence, features=features)


class ObjectModel(Protocol):
    """An object to be found; `pose6d.rendering.rendered_object.RenderedObject` is the one that is made of a mesh.

    Attributes:
        diameter: metres; (N,) where it differs from hypothesis to hypothesis.
        center: (3,) metres, the origin of the centred object in the original frame.
        textured: whether colours tell sides apart that look alike by shape.
        recordable: whether `render` may become part of a CUDA graph.
    """

    @property
    def diameter(self) -> float | Tensor: ...
    @property
    def center(self) -> np.ndarray: ...
    @property
    def textured(self) -> bool: ...
    @property
    def recordable(self) -> bool: ...

    def render(
        self, poses: Tensor, K: Tensor, size: tuple[int, int], *, shading: Shading = ..., normals: bool = ...
    ) -> Rendering:
        """Draw each of the hypotheses (N, 4, 4) into an image of (height, width) with K (N, 3, 3)."""
        ...

    def principal_axes(self) -> Tensor:
        """(3, 3) unit vectors as rows, about which the object is turned to find sides that look alike."""
        ...

    def rows(self, rows: slice) -> ObjectModel:
        """The object of some of the hypotheses: itself, unless they are of several objects."""
        ...


class HypothesisSampler(Protocol):
    """Where the search starts; `pose6d.search.hypotheses.GridSampler` is the one that the estimator makes itself."""

    def count(self, starts: int | None) -> int:
        """How many hypotheses `sample` gives where a schedule wants so many."""
        ...

    def sample(self, observation: Observation, mask: Tensor, middle: Tensor, starts: int | None) -> Hypotheses:
        """Hypotheses for the object under a mask.

        Args:
            observation: one frame, with its depth filtered.
            mask: (H, W) bool.
            middle: (2,) float32 (u, v), the middle of the mask's bounding box, pixels.
            starts: of the schedule: how many it wants, the likeliest; all where None.

        Returns:
            Poses; not finite where the frame gives no start.
        """
        ...


class Refiner(Protocol):
    """Moves hypotheses towards the observation; `PoseRefinePredictor` is the one that the estimator makes itself.

    Attributes:
        recordable: whether `predict` may become part of a CUDA graph.
    """

    @property
    def recordable(self) -> bool: ...

    def predict(
        self,
        hypotheses: Hypotheses,
        object: ObjectModel,
        observation: Observation,
        steps: int = 5,
        progress: Progress | None = None,
    ) -> Tensor:
        """(N, 4, 4) poses after so many steps, in the order given."""
        ...


class Scorer(Protocol):
    """Ranks hypotheses; `ScorePredictor` is the one that the estimator makes itself.

    Attributes:
        has_confidence: whether it judges each pose by itself. Without, every schedule but `full` may miss unnoticed.
        texture_weight: what a texture that agrees entirely adds to the ranking; 0 leaves texture out of the search.
        choice_weights: how the last hypotheses are weighed against each other; None for a scorer without confidence, or
            one that this was not fitted to: then its ranking decides, and there are no alternatives.
        recordable: whether `predict` may become part of a CUDA graph.
    """

    @property
    def has_confidence(self) -> bool: ...
    @property
    def texture_weight(self) -> float: ...
    @property
    def choice_weights(self) -> ChoiceWeights | None: ...
    @property
    def recordable(self) -> bool: ...

    def predict(
        self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation, progress: Progress | None = None
    ) -> Scores:
        """Ranking (N,) and confidence (N,) of the hypotheses; those whose features it has given need no second look."""
        ...

    def judge(self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation) -> Scores:
        """The same of the last hypotheses, more carefully; asked for where `has_confidence`."""
        ...


Scouts = tuple[Refiner, Scorer]
"""smaller networks that look at the many starts of a search; the large ones see what these leave"""


def check_networks(refiner: Any, scorer: Any, scouts: Any) -> list[Any]:
    """All networks of a search, the scouts' last.

    Raises:
        Pose6DError: one lacks something that is asked of it, or the scouts, where there are any, are no pair.
    """
    pairs = [(refiner, scorer)] if scouts is None else [(refiner, scorer), scouts]
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise Pose6DError(f"scouts is {type(pair).__name__}: a pair (refiner, scorer) is needed, or None")
        check_part(pair[0], Refiner)
        check_part(pair[1], Scorer)
    return [network for pair in pairs for network in pair]


def check_part(part: Any, protocol: type) -> None:
    """Refuse a part that lacks something that the estimator asks of it.

    Raises:
        Pose6DError: names what is missing.
    """
    missing = [name for name in vars(protocol) if not name.startswith("_") and not hasattr(part, name)]
    if missing:
        raise Pose6DError(
            f"{type(part).__name__} is no {protocol.__name__}: it has no {', '.join(missing)} "
            f"(pose6d.search.interfaces.{protocol.__name__} says what they are)"
        )
