"""What a measurement was made with, printed beside every table."""

from __future__ import annotations

from pathlib import Path

import torch

from pose6d.device import resolve_device
from pose6d.report.run_facts import device_name, find_commit


def versions(device: str | torch.device) -> dict[str, str]:
    """Device, PyTorch and commit."""
    resolved = resolve_device(device)
    threads = "" if resolved.type == "cuda" else f", {torch.get_num_threads()} threads"
    return {
        "device": device_name(resolved) + threads,
        "torch": torch.__version__,
        "commit": find_commit(Path(__file__).parent) or "unknown",
    }
