"""Where the search for an object starts: rotations from all around, where the mask is."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pose6d.cuda_kernels import available, blocks_for, check_inputs, load_kernels
from pose6d.errors import Pose6DError, as_whole_number
from pose6d.geometry.observation import Observation
from pose6d.geometry.rotation_grids import rotation_hypotheses
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.search.frame_input import check_translation
from pose6d.search.interfaces import Hypotheses, HypothesisSampler, ObjectModel
from pose6d.search.placement import NearSides, place_rotations

_ASIDE = 0.6  # diameters between an object's centre and the middle of what is seen of it; half, and some noise


class GridSampler:
    """The 252 rotations of the published method: all at the point behind the middle of the mask, or some, each where it
    fits depth and mask best.

    Args:
        object: that is looked for.
        symmetries: (S, 4, 4) transforms of the centred object that leave its look unchanged, identity included; they
            thin out the grid.
        device: of the hypotheses.
        seed: 0 is the plain grid; any other number turns the whole grid by a random rotation drawn from it.

    Raises:
        OptionError: the seed is no whole number.
    """

    def __init__(self, object: ObjectModel, symmetries: Tensor | None, device: torch.device, seed: int = 0):
        rotations = rotation_hypotheses(symmetries)
        if seed := as_whole_number(seed, "seed"):
            rotations = random_rotations(1, torch.Generator().manual_seed(seed % 2**63)) @ rotations
        self._object, self._rotations = object, rotations.to(device)
        self._near: NearSides | None = None

    def count(self, starts: int | None) -> int:
        """How many hypotheses `sample` gives."""
        count = len(self._rotations)
        if starts is None:
            return count
        if self._near is None:
            self._near = NearSides.of(self._object, self._rotations)
        return min(starts, count)

    def sample(self, observation: Observation, mask: Tensor, middle: Tensor, starts: int | None) -> Hypotheses:
        """See `HypothesisSampler.sample`; the poses are infinite where there is no depth under the mask."""
        count = self.count(starts)
        translation = initial_translation(observation.xyz[2], mask, middle, observation.K)
        if starts is None:
            return Hypotheses(make_transform(self._rotations, translation), shared_window=True)
        assert self._near is not None
        translations, cost = place_rotations(self._near, translation, observation, mask)
        best = torch.argsort(cost, stable=True)[:count]
        return Hypotheses(make_transform(self._rotations[best], translations[best]))


def first_hypotheses(
    sampler: HypothesisSampler, observation: Observation, mask: Tensor, middle: Tensor, starts: int | None
) -> tuple[Hypotheses, Tensor]:
    """What a search starts from.

    Args:
        sampler, observation, mask, middle, starts: see `HypothesisSampler.sample`.

    Returns:
        The hypotheses, all finite, and the translation (3,) of the first, which is not finite where the frame gives
        no start; on a GPU, which is not waited for, `check_translation` is left to the caller.

    Raises:
        Pose6DError: there are no hypotheses.
        FrameError: on a CPU, the frame gives no start.
    """
    hypotheses = sampler.sample(observation, mask, middle, starts)
    if not len(hypotheses):
        raise Pose6DError(f"{type(sampler).__name__} gave no hypotheses: a search needs at least one")
    start = hypotheses.poses[0, :3, 3]
    if start.device.type == "cpu":
        check_translation(start, mask.numpy())
    return replace(hypotheses, poses=hypotheses.poses.nan_to_num(1.0, 1.0, 1.0)), start


def initial_translation(depth: Tensor, mask: Tensor, middle: Tensor, K: Tensor) -> Tensor:
    """The point behind the middle of the mask at the median depth under the mask; the device is not waited for.

    It lies on the object's near side, up to a radius in front of its centre; the refiner makes up for that.

    Args:
        depth: (H, W) metres, filtered, 0 = missing.
        mask: (H, W) bool.
        middle: (2,) pixels, from `mask_middle`.
        K: (3, 3).

    Returns:
        (3,) metres, camera axes; infinite where there is no depth under the mask.
    """
    if available(depth.device):
        return _translation_kernels(depth, mask, middle, K)
    under = mask & (depth > 0)
    ascending = torch.where(under, depth, torch.inf).flatten().sort().values
    lower_middle = (under.sum()[None] - 1).clamp(min=0) // 2
    u, v = middle.unbind()
    y = (v - K[1, 2]) / K[1, 1]
    x = (u - K[0, 2] - K[0, 1] * y) / K[0, 0]
    return torch.stack([x, y, torch.ones_like(x)]) * ascending.gather(0, lower_middle)


def _translation_kernels(depth: Tensor, mask: Tensor, middle: Tensor, K: Tensor) -> Tensor:
    """`initial_translation` on a GPU, where sorting an image takes ten times as long."""
    device = depth.device
    check_inputs(device, mask=(mask, depth.shape), middle=(middle, (2,)), K=(K, (3, 3)))
    names = ("depths_under_mask", "point_at_median")
    gather, point_at_median = load_kernels(
        "pose6d.search", "hypotheses.cu", names, depth.get_device(), ("--fmad=false",)
    )
    depth, mask = depth.float(), mask.contiguous()
    found, point = torch.empty(depth.numel(), device=device), torch.empty(3, device=device)
    count = torch.zeros(1, dtype=torch.int32, device=device)
    gather(blocks_for(depth.numel()), depth, *depth.stride(), mask, *depth.shape, found, count)
    point_at_median(1, found, count, middle.float().contiguous(), K.float().contiguous(), point)
    return point


def near_mask(poses: Tensor, middle: Tensor, K: Tensor, diameter: float | Tensor) -> Tensor:
    """Which hypotheses are so near to the mask that it may show the object in that pose, and not another one like it.

    Args:
        poses: (N, 4, 4) centred object in camera.
        middle: (2,) pixels, from `mask_middle`.
        K: (3, 3).
        diameter: metres.

    Returns:
        (N,) bool.
    """
    x, y, z = poses[:, :3, 3].unbind(1)
    across = (K[0, 0] * x + K[0, 1] * y) - (middle[0] - K[0, 2]) * z
    down = K[1, 1] * y - (middle[1] - K[1, 2]) * z
    return torch.maximum((across / K[0, 0]).abs(), (down / K[1, 1]).abs()) < _ASIDE * diameter
