"""RefineNet: how a hypothesis must move so that its rendering matches the observation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from learning.models.blocks import EncoderLayer, PositionalEmbedding, encode_pairs, image_encoder, pair_encoder
from learning.models.config import NetworkConfig


def _head(config: NetworkConfig) -> nn.Sequential:
    return nn.Sequential(
        EncoderLayer(config.embedding, config.heads, config.dropout),
        nn.Linear(config.embedding, 3),
    )


def _in_turn(work: Callable[[nn.Sequential], Tensor], heads: Sequence[nn.Sequential]) -> list[Tensor]:
    return [work(head) for head in heads]


class RefineNet(nn.Module):
    """Pose refinement network of FoundationPose (Wen et al. 2024, section 3.3), compatible with its state dict."""

    def __init__(self, config: NetworkConfig | None = None):
        super().__init__()
        self.config = config or NetworkConfig(kind="refiner")
        self.encodeA = image_encoder(self.config)
        self.encodeAB = pair_encoder(self.config)
        self.pos_embed = PositionalEmbedding(self.config.tokens, self.config.embedding)
        self.trans_head = _head(self.config)
        self.rot_head = _head(self.config)
        self.each_head: Callable[[Callable[[nn.Sequential], Tensor], Sequence[nn.Sequential]], list[Tensor]] = _in_turn

    def forward(self, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
        """Raw outputs; `learning.inference.inputs.apply_update` turns them into new poses.

        Args:
            A, B: (N, 6, s, s) rendered and observed RGB and normalised xyz.

        Returns:
            trans (N, 3), in object radii along camera axes, and rot (N, 3), before the tanh.
        """
        return self.refine(torch.cat([A, B]), len(A))

    def refine(self, images: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """`forward` of images that lie in one tensor, as `blocks.encode_pairs` takes them."""
        tokens = self.pos_embed(encode_pairs(self.encodeA, self.encodeAB, images, count))
        # Published: linear layer on each token, then the mean. The mean first is the same function and cheaper.

        def step(head: nn.Sequential) -> Tensor:
            return head[1](head[0](tokens).mean(dim=1))

        trans, rot = self.each_head(step, (self.trans_head, self.rot_head))
        return trans, rot
