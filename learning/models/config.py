"""What a network file must say about itself, besides its numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pose6d.errors import WeightsError

Kind = Literal["refiner", "scorer"]

PUBLISHED_ROTATION_LIMIT = math.radians(20.0)  # of the released refiner, per axis
DEFAULT_CROP_RATIO = {"refiner": 1.2, "scorer": 1.1}
_BEYOND = 1e6  # of every number
_LARGEST = 4096  # channels, pixels; no network of this kind is near it
_LISTS = {"choice_weights": 5, "judge_weights": 3}  # lists of numbers, and how many
_STRIDE = 8  # of the trunk: an input of 160 px becomes 20 x 20 tokens
# A config comes from a file that people edit, so its types are not certain.
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "width": ((int,), "a whole number"),
    "input_size": ((int,), "a whole number"),
    "crop_ratio": ((int, float), "a number"),
    "rotation_limit": ((int, float), "a number"),
    "heads": ((int,), "a whole number"),
    "dropout": ((int, float), "a number"),
    "use_bn": ((bool,), "true or false"),
    "min_depth": ((int, float), "a number"),
    "clip_to_image": ((bool,), "true or false"),
    "confidence": ((bool,), "true or false"),
    "appearance_weight": ((int, float), "a number"),
    "confidence_scale": ((int, float), "a number"),
    "confidence_offset": ((int, float), "a number"),
}


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of one network and the crops it was trained on.

    The defaults are those of the published FoundationPose networks (arXiv 2312.08344 and its release), but for
    `clip_to_image`.

    Attributes:
        kind: `refiner` or `scorer`.
        width: channels of the first convolution; every other channel count and the token dimension scale with it
            (64 gives 64/128/256/512 and 512-dimensional tokens).
        input_size: side of the square crops in pixels, a multiple of 8.
        crop_ratio: side of the crop window over the object's diameter; 1.2 (refiner) or 1.1 (scorer) where None.
        rotation_limit: radians, the largest step about each axis that the refiner can take.
        heads: attention heads; must divide 8 * width.
        dropout: of the refiner's transformer layers, in training only.
        use_bn: batch normalisation after each convolution; False once it is folded into the convolutions.
        min_depth: metres; points nearer than this count as missing.
        clip_to_image: what is rendered ends where the image ends, as what is observed does. Without it, networks pull
            an object that the border cuts into the image. The published networks were trained without.
        confidence: the scorer has a head that judges each pose by itself. The published one has none.
        appearance_weight: what a texture that agrees entirely (`pose6d.search.texture_correlation`) adds to the
            scorer's ranking; fitted on held-out scenes, since the scale of a ranking is a network's own.
        confidence_scale, confidence_offset: probability = sigmoid(scale * logit + offset), fitted on held-out scenes
            (Platt 1999).
        choice_weights: what each piece of evidence between two of the last hypotheses counts, in the order of
            `pose6d.search.interfaces.ChoiceWeights`, fitted on held-out scenes; empty if it was not.
        judge_weights: what logit and texture count when a pose is judged, in the order of
            `learning.training.predict_score.JudgeWeights`, fitted on held-out scenes; empty if it was not.
    """

    kind: Kind = "refiner"
    width: int = 64
    input_size: int = 160
    crop_ratio: float | None = None
    rotation_limit: float = PUBLISHED_ROTATION_LIMIT
    heads: int = 4
    dropout: float = 0.1
    use_bn: bool = True
    min_depth: float = 0.001
    clip_to_image: bool = True
    confidence: bool = False
    appearance_weight: float = 0.0
    confidence_scale: float = 1.0
    confidence_offset: float = 0.0
    choice_weights: tuple[float, ...] = ()
    judge_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in tuple(DEFAULT_CROP_RATIO):
            raise WeightsError(f"network kind is {self.kind!r}: expected 'refiner' or 'scorer'")
        if self.crop_ratio is None:
            object.__setattr__(self, "crop_ratio", DEFAULT_CROP_RATIO[self.kind])
        for name, (types, wanted) in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise WeightsError(f"network {name} is {value!r}: expected {wanted}")
            if not -_BEYOND < getattr(self, name) < _BEYOND:  # NaN is not, either
                raise WeightsError(f"network {name} is {str(value)[:20]}: expected {wanted} below {_BEYOND:g}")
        for name, count in _LISTS.items():
            self._check_list(name, count)
        if self.heads <= 0:
            raise WeightsError(f"network heads is {self.heads}: expected a positive number")
        if self.input_size <= 0 or self.input_size % _STRIDE:
            raise WeightsError(f"network input_size is {self.input_size}: expected a positive multiple of {_STRIDE}")
        if self.width > _LARGEST or self.input_size > _LARGEST:
            raise WeightsError(
                f"network width is {self.width} and input_size {self.input_size}: expected at most {_LARGEST}"
            )
        if self.window <= 0:
            raise WeightsError(f"network crop_ratio is {self.crop_ratio}: expected a positive number")
        if self.width <= 0 or self.embedding % self.heads:
            raise WeightsError(
                f"network width {self.width} gives {self.embedding} dimensions, not split by {self.heads} heads"
            )

    def _check_list(self, name: str, count: int) -> None:
        """Make a tuple of what JSON gives as a list, and refuse what is no weights."""
        given: Any = getattr(self, name)
        numbers = isinstance(given, list | tuple) and all(type(value) in (int, float) for value in given)
        if not numbers or len(given) not in (0, count) or not all(-_BEYOND < value < _BEYOND for value in given):
            raise WeightsError(
                f"network {name} is {str(given)[:40]}: expected {count} numbers below {_BEYOND:g}, or none"
            )
        if given and not self.confidence:
            raise WeightsError(f"network {name} are given, but confidence is false: they need it")
        object.__setattr__(self, name, tuple(float(value) for value in given))

    @property
    def embedding(self) -> int:
        """Dimension of a token."""
        return 8 * self.width

    @property
    def tokens(self) -> int:
        """Number of tokens of one pair."""
        return (self.input_size // _STRIDE) ** 2

    @property
    def window(self) -> float:
        """Side of the crop window over the object's diameter, never None."""
        assert self.crop_ratio is not None
        return self.crop_ratio

    def replace(self, **changes: Any) -> NetworkConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the JSON file beside the weights."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], kind: Kind | None = None) -> NetworkConfig:
        """Read our JSON, or the values of a published `config.yml` (told apart by their keys).

        Args:
            values: the file's content.
            kind: what the network is wanted for. A published config does not say which network it belongs to.

        Raises:
            WeightsError: unknown keys, or a published variant that is not supported.
        """
        if "input_resize" in values or "use_BN" in values:
            return cls._from_published(values, kind or "refiner")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(str(key) for key in set(values) - known)
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise WeightsError(
                f"network config has unknown keys {unknown[:5]}{more}: was it written by a newer version?"
            )
        config = cls(**values)
        if kind is not None and config.kind != kind:
            raise WeightsError(f"these weights are a {config.kind}, but a {kind} is wanted")
        return config

    @classmethod
    def _from_published(cls, values: Mapping[str, Any], kind: Kind) -> NetworkConfig:
        wanted: dict[str, Any] = {"c_in": 6, "normalize_xyz": True, "use_normal": False, "use_mask": False, "n_view": 1}
        absent: dict[str, Any] = {
            "c_in": 4,
            "normalize_xyz": False,
            "use_normal": False,
            "use_mask": False,
            "n_view": 1,
        }
        if kind == "refiner":
            wanted |= {"rot_rep": "axis_angle", "trans_rep": "tracknet"}
            absent |= {"rot_rep": "axis_angle", "trans_rep": "tracknet"}
        for key, value in wanted.items():
            found = values.get(key, absent[key])
            if found != value:
                raise WeightsError(f"published config has {key} = {found!r}; only {value!r} is supported")
        size = values.get("input_resize", [160, 160])
        if not isinstance(size, list) or len(set(map(str, size))) != 1:
            raise WeightsError(f"published config has input_resize = {size}; only square crops are supported")
        ratio = values.get("crop_ratio")
        try:
            side, window = int(size[0]), 1.2 if ratio is None else float(ratio)
            limit = float(values.get("rot_normalizer", PUBLISHED_ROTATION_LIMIT))
        except (TypeError, ValueError, OverflowError) as error:
            raise WeightsError(f"published config: input_resize, crop_ratio and rot_normalizer: {error}") from error
        return cls(
            kind=kind,
            input_size=side,
            crop_ratio=window,
            rotation_limit=limit,
            use_bn=bool(values.get("use_BN", False)),
            # The published scorer treats everything nearer than 0.1 m as missing, the refiner nearer than 1 mm.
            min_depth=0.1 if kind == "scorer" else 0.001,
            clip_to_image=False,
        )
