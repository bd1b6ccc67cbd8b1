"""How different two poses of an object look: the error that an observer could see.

ADD punishes a pose that no picture tells from the true one: a round can turned about its axis, a box whose telling side
is hidden. Such poses are equally right answers, and a scorer that is taught otherwise learns to guess.
"""

from __future__ import annotations

import torch

from learning.inference.inputs import network_inputs
from learning.models.config import NetworkConfig
from pose6d.geometry.camera import crop_coverage, crop_images, crop_transforms
from pose6d.rendering.interface import ALBEDO, Renderer

_FARTHEST = 0.5  # diameters; what only one of the two poses covers counts as this far apart
_COLOR_WEIGHT = 3.0  # diameters per unit of colour: a third of the surface in quite another colour is 0.3 off


def visible_difference(
    renderer: Renderer,
    poses: torch.Tensor,
    truth: torch.Tensor,
    K: torch.Tensor,
    hidden: torch.Tensor,
    colored: torch.Tensor,
    config: NetworkConfig,
    mesh_index: torch.Tensor,
) -> torch.Tensor:
    """Mean difference in geometry and colour over the pixels of the image that either pose covers and nothing hides.

    The idea is that of VSD (Hodan et al. 2016), with colour. Objects have unit diameter.

    Args:
        poses: (N, L, 4, 4) hypotheses, centred mesh in camera.
        truth: (N, 4, 4).
        K: (N, 3, 3).
        hidden: (N, H, W) bool, pixels where the object would be seen if nothing stood in front of it.
        colored: (N,) bool, false where the mesh has no colours, so that colour tells nothing.
        config: crop ratio and size of the scorer; half its resolution is enough.
        mesh_index: (N,) int64.

    Returns:
        (N, L) diameters, 0 where the two poses cannot be told apart.
    """
    count, group = poses.shape[:2]
    size = config.input_size // 2
    flat, K = poses.reshape(-1, 4, 4), K.repeat_interleave(group, 0)
    mesh_index, one = mesh_index.repeat_interleave(group), torch.ones(count * group, device=poses.device)
    transforms = crop_transforms(flat, K, one, config.window, size)

    def look(drawn: torch.Tensor) -> torch.Tensor:
        view = renderer.render(drawn, transforms @ K, (size, size), mesh_index=mesh_index, shading=ALBEDO)
        color, xyz = view.color.permute(0, 3, 1, 2), view.xyz.permute(0, 3, 1, 2)
        return network_inputs(color, xyz, flat, one, config.min_depth)

    given, true = look(flat), look(truth.repeat_interleave(group, 0))
    covered, truly = (given[:, 3:].abs().sum(1) > 0), (true[:, 3:].abs().sum(1) > 0)
    occluded = crop_images(hidden[:, None].float(), transforms, size, mode="nearest")[:, 0] > 0.5
    inside = crop_coverage(transforms, size, *hidden.shape[-2:])
    counted = ((covered | truly) & ~occluded & inside).float()
    # Points are in radii, hence the half.
    apart = (0.5 * (given[:, 3:] - true[:, 3:]).norm(dim=1)).clamp(max=_FARTHEST)
    apart = torch.where(covered & truly, apart, torch.full_like(apart, _FARTHEST))
    tint = (given[:, :3] - true[:, :3]).abs().mean(1) * (covered & truly)
    tint = tint * colored.repeat_interleave(group).view(-1, 1, 1)
    difference = ((apart + _COLOR_WEIGHT * tint) * counted).sum((1, 2)) / counted.sum((1, 2)).clamp(min=1.0)
    return difference.view(count, group)
