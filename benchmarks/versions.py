"""What a measurement was made with, printed beside every table."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch

from pose6d.device import resolve_device


def versions(device: str | torch.device) -> dict[str, str]:
    """Device, PyTorch and commit."""
    resolved = resolve_device(device)
    cpu = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(resolved) if resolved.type == "cuda" else cpu
    return {"device": name, "torch": torch.__version__, "commit": commit()}


def commit() -> str:
    """Short name of the checkout's commit, `-dirty` after changes."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
