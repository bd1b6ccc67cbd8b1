"""FoundationPose's published schedule in plain PyTorch."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from learning.inference.inputs import apply_update, pair_inputs
from learning.models.config import NetworkConfig
from learning.models.loading import load_network
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.device import resolve_device
from pose6d.geometry.depth import filter_depth
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.rotation_grids import rotation_hypotheses
from pose6d.geometry.transforms import make_transform
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.frame_input import mask_middle
from pose6d.search.hypotheses import initial_translation
from pose6d.search.interfaces import Hypotheses


class PublishedSchedule:
    """252 hypotheses, each refined in every step, then scored once; the best one counts.

    As Wen et al. 2024 (arXiv 2312.08344) and their release do it: float16 by autocast on a GPU, one copy of the frame
    for each hypothesis, no graphs, nothing pruned, no alignment and no confidence. Renderer and networks are ours.

    Args:
        weights, device: as of `FoundationPose`.
    """

    def __init__(self, weights: str = "auto", device: str = "auto"):
        self._device = resolve_device(device)
        refiner, scorer = (load_network(weights, kind, self._device.type) for kind in ("refiner", "scorer"))
        assert isinstance(refiner, RefineNet) and isinstance(scorer, ScoreNetMultiPair)
        self._refiner, self._scorer = (network.eval().to(self._device) for network in (refiner, scorer))
        self._rotations = rotation_hypotheses().to(self._device)

    def __call__(self, mesh: Mesh) -> PublishedEstimator:
        return PublishedEstimator(mesh, self._refiner, self._scorer, self._rotations, self._device)


class PublishedEstimator:
    """The schedule for one mesh; see `PublishedSchedule`."""

    poses: np.ndarray | None = None

    def __init__(
        self, mesh: Mesh, refiner: RefineNet, scorer: ScoreNetMultiPair, rotations: Tensor, device: torch.device
    ):
        self._refiner, self._scorer, self._rotations, self._device = refiner, scorer, rotations, device
        self._object = RenderedObject.from_mesh(mesh, device)
        self._centred_from_original = make_transform(torch.eye(3), -torch.as_tensor(mesh.center)).to(device)

    @torch.inference_mode()
    def register(
        self, K: np.ndarray, rgb: np.ndarray, depth: np.ndarray, ob_mask: np.ndarray, iteration: int = 5
    ) -> np.ndarray:
        """(4, 4) original mesh in camera; arguments as of `FoundationPose.register`."""
        device, count = self._device, len(self._rotations)
        frame = observe(torch.as_tensor(rgb, device=device), filter_depth(torch.as_tensor(depth, device=device)), K)
        mask, middle = torch.as_tensor(ob_mask > 0, device=device), torch.as_tensor(mask_middle(ob_mask > 0))
        translation = initial_translation(frame.xyz[2], mask, middle.to(device), frame.K)
        poses = make_transform(self._rotations, translation)
        copies = Observation(*(x.expand(count, *x.shape).contiguous() for x in (frame.rgb, frame.xyz)), frame.K)
        cast = torch.autocast("cuda", torch.float16) if device.type == "cuda" else nullcontext()
        limit = self._refiner.config.rotation_limit
        for _ in range(iteration):
            A, B = self._inputs(poses, copies, self._refiner.config)
            with cast:
                translations, rotations = self._refiner(A, B)
            poses = apply_update(poses, translations, rotations, self._object.diameter, limit)
        A, B = self._inputs(poses, copies, self._scorer.config)
        with cast:
            ranking = self._scorer(A, B, count).ranking[0]
        return (poses[ranking.argmax()] @ self._centred_from_original).cpu().numpy()

    def _inputs(self, poses: Tensor, copies: Observation, config: NetworkConfig) -> tuple[Tensor, Tensor]:
        return pair_inputs(Hypotheses(poses), self._object, copies, config)
