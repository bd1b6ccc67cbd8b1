"""How well a pose explains what is seen of a long thing, of which another thing hides a part.

A fork whose handle is hidden fits the mask in two ways: as it lies, with the handle behind what hides it, or tilted
away from the picture until the whole of it looks as short as the part that is seen. Scoring networks prefer the latter,
of which nothing is hidden. Depth tells them apart: of a tilted fork, one end is nearer than what was seen, and the
other one farther.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pose6d.geometry.camera import crop_images, crop_windows, distant_camera
from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import make_transform
from pose6d.pieces import even_slices, run_pieces
from pose6d.rendering.interface import ALBEDO
from pose6d.search.interfaces import ObjectModel
from pose6d.search.pair_evidence import cost_beside

_LONG = 2.15  # times the second extent; scissors and a bottle of bleach are 2.3 and 2.6, a bottle of mustard 2.0
_AWAY = 4.0  # diameters to the camera that sees how long it is
_SIZE = 96  # pixels, side of the pictures
_WINDOW = 1.2  # their side over the diameter
_PIECE = 24  # poses at once on a CPU
_SAME = 0.05  # diameters by which observed depth is off where nothing is explained


def is_long(object: ObjectModel, device: torch.device) -> bool:
    """Whether an object is much longer than wide, by its principal axes."""
    _, wide, long = object.principal_axes()
    away = torch.tensor([0.0, 0.0, _AWAY * float(object.diameter)])
    pose = make_transform(torch.stack([long, wide, torch.linalg.cross(long, wide)]), away).to(device)
    K = distant_camera(_SIZE, _AWAY, _WINDOW, device)
    drawn = object.render(pose[None], K[None], (_SIZE, _SIZE), shading=ALBEDO)
    points = drawn.xyz[drawn.mask]
    if not len(points):
        return False
    length, width, _ = (points.amax(dim=0) - points.amin(dim=0)).tolist()
    return length > _LONG * width


def explained_share(
    poses: Tensor, object: ObjectModel, observation: Observation, mask: Tensor, most: float = torch.inf
) -> Tensor:
    """The share of what was seen under the mask that the surface in each pose explains, less what speaks against it.

    Args:
        poses: (N, 4, 4) float32, centred object in camera.
        object: what they are of.
        observation: one frame, with its depth filtered.
        mask: (H, W) bool of the object.
        most: times the surface that is seen: the mask counts for no more, since people draw masks that are too large.

    Returns:
        (N,) float32, at most about 1; below 0 where more of the surface is seen through than is seen. What is hidden
        costs little.
    """
    seen = observation.xyz[2:] * (observation.xyz[2:] > 0)
    seen = torch.cat([seen, mask & (seen > 0)])
    if poses.device.type == "cpu":
        rows = even_slices(len(poses), _PIECE)
        parts = run_pieces(lambda part: _explained(poses[part], object.rows(part), observation.K, seen, most), rows)
        return torch.cat(parts) if parts else poses.new_empty(0)
    return _explained(poses, object, observation.K, seen, most)


def _explained(poses: Tensor, object: ObjectModel, K: Tensor, seen: Tensor, most: float) -> Tensor:
    """`explained_share` of (2, H, W): the depth, and where it is the object's."""
    diameter = object.diameter
    transforms, crop_K = crop_windows(poses, K, diameter, _WINDOW, _SIZE)
    drawn = object.render(poses, crop_K, (_SIZE, _SIZE), shading=ALBEDO)
    depth, own = crop_images(seen, transforms, _SIZE, mode="nearest").unbind(1)
    off = (depth - drawn.depth) / (_SAME * (diameter.view(-1, 1, 1) if isinstance(diameter, Tensor) else diameter))
    counts = drawn.mask & (depth > 0)
    worth = torch.where(own > 0, 1.0 - off.abs().clamp(max=1.0), -cost_beside(off)) * counts
    pixels = seen[1].sum() * transforms[:, 0, 0] * transforms[:, 1, 1]  # of the mask, as large as in the crops
    if most < torch.inf:
        pixels = torch.minimum(pixels, most * (counts & ((own > 0) | (off > -1))).sum((1, 2)))
    return worth.sum((1, 2)) / pixels.clamp(min=1.0)
