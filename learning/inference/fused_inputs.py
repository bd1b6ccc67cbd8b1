"""What `learning.inference.inputs` computes, as a few CUDA kernels for inference in float16 (`fused_inputs.cu`).

One step of one hypothesis takes hundreds of launches as tensor expressions, which is most of its time; here it takes
two beside the renderer's and one for the update. Nothing waits for the device, and after one warm-up call, which
compiles, a call can be captured in a CUDA graph. No function here is differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learning.inference.inputs import PUBLISHED_SHADING, XYZ_LIMIT
from learning.models.config import NetworkConfig
from pose6d import cuda_kernels
from pose6d.cuda_kernels import Kernel, blocks_for, check_inputs, length, load_kernels
from pose6d.geometry.camera import crop_windows
from pose6d.geometry.observation import Observation
from pose6d.search.interfaces import Hypotheses, ObjectModel

CHANNELS = 8  # 3 of colour, 3 of normalised xyz, and 2 that are zero: tensor cores want multiples of 8


def available(device: torch.device) -> bool:
    """Whether the functions of this file run on a device: a CUDA GPU, with CuPy installed."""
    return cuda_kernels.available(device)


def network_pairs(
    hypotheses: Hypotheses, object: ObjectModel, observation: Observation, config: NetworkConfig
) -> Tensor:
    """Both inputs of a network, cast and padded: `learning.inference.inputs.pair_inputs` on a GPU.

    Args:
        hypotheses: N poses of the centred object in camera. All tensors are on its GPU.
        object: what they are of, one or several.
        observation: one frame, (3, H, W) float32 with any strides, and K (3, 3).
        config: crop ratio, crop size and nearest depth of the network, and whether what is rendered ends at the
            image's border.

    Returns:
        (N + M, 8, s, s) float16 in channels_last memory: N rendered inputs, then the observed ones, M = N, or 1 where
        the hypotheses share their window. Channels are red, green, blue, x, y, z, 0, 0.

    Raises:
        ValueError: a tensor is of another shape, or on another device.
        MissingDependencyError: CuPy is not installed, or cannot compile for this GPU.
    """
    poses, K, diameter = hypotheses.poses, observation.K, object.diameter
    count, size, device = len(poses), config.input_size, poses.device
    rgb, xyz = observation.rgb.float(), observation.xyz.float()
    if rgb.ndim != 3:
        raise ValueError(
            f"rgb is {tuple(rgb.shape)}: one frame (3, H, W) is needed; pair_inputs takes one for each pose"
        )
    check_inputs(
        device, poses=(poses, (count, 4, 4)), rgb=(rgb, (3, *rgb.shape[1:])), xyz=(xyz, rgb.shape), K=(K, (3, 3))
    )
    radius = length(diameter, 0.5, poses)
    images = count + (min(count, 1) if hypotheses.shared_window else count)
    out = torch.empty(
        (images, CHANNELS, size, size), dtype=torch.float16, device=device, memory_format=torch.channels_last
    )
    if not count:
        return out
    poses, K = poses.float().contiguous(), K.float().contiguous()
    transforms, crop_K = crop_windows(poses, K, diameter, config.window, size)
    drawn = object.render(poses, crop_K, (size, size), shading=PUBLISHED_SHADING)
    pack_pairs, _ = _kernels(device)
    pack_pairs(
        images * blocks_for(size * size),
        *(drawn.color.contiguous(), drawn.xyz.contiguous()),
        *(rgb, *rgb.stride(), xyz, *xyz.stride(), *rgb.shape[1:], transforms, poses, count),
        *(*radius, float(config.min_depth), config.clip_to_image, size, out),
    )
    return out


def update_poses(poses: Tensor, trans: Tensor, rot: Tensor, diameter: float | Tensor, rotation_limit: float) -> Tensor:
    """New hypotheses from the refiner's raw outputs: `learning.inference.inputs.apply_update` on a GPU.
    The arguments and the result are the same; `trans` and `rot` may be float16.

    Raises:
        ValueError: a tensor is of another shape, or on another device.
        MissingDependencyError: CuPy is not installed, or cannot compile for this GPU.
    """
    count, device = len(poses), poses.device
    check_inputs(device, poses=(poses, (count, 4, 4)), trans=(trans, (count, 3)), rot=(rot, (count, 3)))
    radius = length(diameter, 0.5, poses)
    poses = poses.float().contiguous()
    out = torch.empty_like(poses)
    if count:
        trans, rot = _readable(trans), _readable(rot)
        _, move = _kernels(device)
        move(
            blocks_for(count),
            *(poses, count, trans, trans.dtype == torch.float16, rot, rot.dtype == torch.float16),
            *(*radius, float(rotation_limit), out),
        )
    return out


def _readable(values: Tensor) -> Tensor:
    """Contiguous float16 or float32, which the kernels read."""
    return (values if values.dtype == torch.float16 else values.float()).contiguous()


def _kernels(device: torch.device) -> tuple[Kernel, ...]:
    # Without fused multiply-add, coordinates are rounded as the tensor expressions round them.
    names = ("pack_pairs", "move")
    limit = (("XYZ_LIMIT", XYZ_LIMIT),)
    return load_kernels("learning.inference", "fused_inputs.cu", names, device.index, ("--fmad=false",), limit)
