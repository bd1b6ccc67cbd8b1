"""ScoreNetMultiPair: which of several hypotheses of one object matches the observation best."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learning.models.blocks import PositionalEmbedding, SelfAttention, encode_pairs, image_encoder, pair_encoder
from learning.models.config import NetworkConfig
from pose6d.search.interfaces import Scores


class ScoreNetMultiPair(nn.Module):
    """Pose ranking network of FoundationPose (Wen et al. 2024, section 3.4), compatible with its state dict.

    With `config.confidence` a second head judges each pair by itself: hypotheses do not see one another there, so that
    the verdict on a tracked pose and on one of 252 hypotheses mean the same.
    """

    def __init__(self, config: NetworkConfig | None = None):
        super().__init__()
        self.config = config or NetworkConfig(kind="scorer")
        self.encoderA = image_encoder(self.config)
        self.encoderAB = pair_encoder(self.config)
        self.att = SelfAttention(self.config.embedding, self.config.heads)
        self.att_cross = SelfAttention(self.config.embedding, self.config.heads)
        self.pos_embed = PositionalEmbedding(self.config.tokens, self.config.embedding)
        self.linear = nn.Linear(self.config.embedding, 1)
        if self.config.confidence:
            width = self.config.embedding
            self.confidence = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def encode(self, images: Tensor, count: int) -> Tensor:
        """One feature (N, D) per pair of the images that `blocks.encode_pairs` takes. Pairs do not see each other, so N
        may be chunked."""
        tokens = self.pos_embed(encode_pairs(self.encoderA, self.encoderAB, images, count))
        # The output projection is linear, so it may follow the mean over tokens.
        return self.att.out_proj(self.att.attend(tokens).mean(dim=1))

    def compare(self, features: Tensor) -> Tensor:
        """Hypotheses of each object look at one another: (G, L, D) -> logits (G, L)."""
        return self.linear(self.att_cross(features)).squeeze(-1)

    def judge(self, features: Tensor) -> Tensor | None:
        """Each pair by itself: (..., D) -> logits (...) of being right; None without the head."""
        return self.confidence(features).squeeze(-1) if self.config.confidence else None

    def forward(self, A: Tensor, B: Tensor, group_size: int) -> Scores:
        """Score hypotheses of several objects at once.

        Args:
            A, B: (G * L, 6, s, s) as of `RefineNet.forward`, the L hypotheses of one object in a row.
            group_size: L, the number of hypotheses of each object.

        Returns:
            (G, L) each.
        """
        if A.shape[0] % group_size:
            raise ValueError(f"{A.shape[0]} pairs do not form groups of {group_size}")
        features = self.encode(torch.cat([A, B]), len(A))
        features = features.view(-1, group_size, features.shape[-1])
        return Scores(self.compare(features), self.judge(features))
