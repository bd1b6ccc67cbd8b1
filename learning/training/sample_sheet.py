"""A picture of training samples, because a wrong crop is seen sooner than measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from pose6d.scenes.images import write_image

HARD_BATCHES = 8
"""in which trainers look for the hardest samples"""


def save_samples(A: torch.Tensor, B: torch.Tensor, path: Path, samples: int = 12) -> None:
    """One column per sample: rendered colour, observed colour, both blended, rendered xyz, observed xyz.

    Args:
        A, B: (N, 6, s, s) rendered and observed network inputs.
        path: PNG to write.
        samples: columns.
    """
    A, B = A[:samples].float().cpu(), B[:samples].float().cpu()
    rows = [A[:, :3], B[:, :3], 0.5 * A[:, :3] + 0.5 * B[:, :3], A[:, 3:] / 4 + 0.5, B[:, 3:] / 4 + 0.5]
    grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)  # (3, rows * s, samples * s)
    picture = (grid.clamp(0, 1).permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    write_image(path, picture)


def save_hardest(
    batches: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], path: Path, samples: int = 12
) -> None:
    """The picture of the samples with the largest errors, worst first.

    Args:
        batches: A, B (N, 6, s, s) and the errors (N,) of each batch.
        path, samples: as of `save_samples`.
    """
    worst: tuple[torch.Tensor, ...] = ()
    for batch in batches:
        together = tuple(torch.cat(parts) for parts in zip(worst, batch, strict=True)) if worst else batch
        order = torch.argsort(together[2], descending=True)[:samples]
        worst = tuple(part[order] for part in together)
    save_samples(worst[0], worst[1], path, samples)
