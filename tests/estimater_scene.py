"""A rendered frame, fake networks that know the answer, and small random ones: what tests of estimators share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learning.inference.inputs import pair_inputs
from learning.models.blocks import SelfAttention
from learning.models.config import NetworkConfig
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair, Scores
from learning.training.predict_pose_refine import PoseRefinePredictor
from learning.training.predict_score import ScorePredictor
from pose6d.geometry.observation import Observation
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.search.interfaces import Hypotheses, ObjectModel, Progress

SMALL = {"width": 4, "input_size": 32}
K = np.array([[400.0, 0.0, 158.3], [0.0, 400.0, 121.7], [0.0, 0.0, 1.0]])


@dataclass
class Scene:
    """A rendered frame of a mesh whose origin lies far from its middle."""

    mesh: Mesh
    truth: np.ndarray
    rgb: np.ndarray
    depth: np.ndarray
    mask: np.ndarray

    @property
    def frame(self) -> dict[str, np.ndarray]:
        return {"K": K, "rgb": self.rgb, "depth": self.depth}


def render_scene(mesh: Mesh, truth: Tensor) -> Scene:
    drawn = make_renderer(mesh, "cpu").render(truth[None], torch.as_tensor(K, dtype=torch.float32), (240, 320))
    wall = drawn.depth[0].numpy()
    mask = drawn.mask[0].numpy()
    rgb = (drawn.color[0] * 255).round().to(torch.uint8).numpy()
    return Scene(mesh, truth.numpy(), rgb, np.where(mask, wall, np.float32(1.5)), mask)


class PlantingRefiner:
    """Puts the true pose, given for the original mesh, among the hypotheses and leaves the others as they are."""

    def __init__(self, truth: np.ndarray, center: np.ndarray):
        self.pose = torch.as_tensor(truth).clone()
        self.pose[:3, 3] += self.pose[:3, :3] @ torch.as_tensor(center, dtype=torch.float32)
        self.seen: Tensor | None = None

    recordable = False

    def predict(
        self,
        hypotheses: Hypotheses,
        object: ObjectModel,
        observation: Observation,
        steps: int = 5,
        progress: Progress | None = None,
    ) -> Tensor:
        poses = hypotheses.poses.clone()
        self.seen = poses.clone() if self.seen is None else self.seen
        poses[min(7, len(poses) - 1)] = self.pose.to(poses.device)
        return poses


class MatchingScorer:
    """Prefers the hypothesis whose rendering looks most like the observation."""

    has_confidence, texture_weight, choice_weights, recordable = False, 0.0, None, False

    def predict(
        self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation, progress: Progress | None = None
    ) -> Scores:
        A, B = pair_inputs(hypotheses, object, observation, NetworkConfig(kind="scorer", input_size=64))
        difference = (A - B).abs().mean(dim=(1, 2, 3))
        return Scores(-difference, torch.exp(-0.1 * difference))

    def judge(self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation) -> Scores:
        return self.predict(hypotheses, object, observation)


def wake_up(network: RefineNet | ScoreNetMultiPair) -> None:
    """Make an untrained network look at its input: fresh ones give the same answer to the sixth digit.

    Normalisation statistics are set from noise, so that signals do not fade, and attention is made selective.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
        elif isinstance(module, SelfAttention):
            torch.nn.init.normal_(module.in_proj_weight, std=0.5)
    A, B = torch.rand(2, 8, 6, SMALL["input_size"], SMALL["input_size"])
    with torch.no_grad():
        network.train()(A, B, *([4] if isinstance(network, ScoreNetMultiPair) else []))


def random_networks(device: torch.device | str = "cpu", **changes: int) -> dict:
    torch.manual_seed(0)
    refiner = RefineNet(NetworkConfig(**SMALL))
    scorer = ScoreNetMultiPair(NetworkConfig(kind="scorer", confidence=True, **SMALL))
    for network in (refiner, scorer):
        wake_up(network)
    return {
        "refiner": PoseRefinePredictor(network=refiner, device=device, **changes),
        "scorer": ScorePredictor(network=scorer, device=device, **changes),
        "device": device,
    }
