"""What a reader must know of a run to repeat it: settings, machine, commit, warnings."""

from __future__ import annotations

import platform
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import torch

from pose6d.mesh.mesh import Mesh
from pose6d.scenes.frame import Scene


@dataclass
class RunFacts:
    """What the report says about a run besides its results.

    Attributes:
        scene: the recording.
        mesh: the object, metres.
        settings: value by name, as on the command line.
        device: everything ran on.
        weights: folder of the networks.
        warnings: what the user was warned of.
    """

    scene: Scene
    mesh: Mesh
    settings: Mapping[str, Any]
    device: torch.device
    weights: Path
    warnings: list[str] = field(default_factory=list)

    @property
    def moving(self) -> Literal["camera", "object"]:
        """What moves in the 3-D view at first: the camera where the layout records one that goes round an object."""
        return "camera" if self.scene.kind == "capture" else "object"

    def machine(self) -> dict[str, str]:
        """Value by name: the object, the device, and the versions that results depend on."""
        commit = find_commit(Path(__file__).resolve().parent)
        return {
            "object": f"{Path(self.mesh.name).name}, {len(self.mesh.faces)} faces",
            "diameter": f"{1000 * self.mesh.diameter:.1f} mm",
            "device": f"{device_name(self.device)} ({self.device})",
            "weights": str(self.weights),
            "commit": commit or "unknown: not in a git checkout",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "system": platform.platform(terse=True),
            "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        }


def device_name(device: torch.device) -> str:
    """What the device is sold as, as far as the system says."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return model or platform.processor() or platform.machine()


def find_commit(folder: Path) -> str:
    """The commit of the checkout that holds `folder`, and whether tracked files differ from it; "" where none is."""

    def git(*args: str) -> str:
        command = ["git", "-C", str(folder), *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", ".")  # an installed package may lie in the repository of another project
        commit = git("rev-parse", "--short=10", "HEAD")
        return commit + (" with local changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collect the texts of warnings given inside, which are shown as well."""
    texts: list[str] = []
    show = warnings.showwarning

    def collect(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if str(message) not in texts:
            texts.append(str(message))
        show(message, category, *place, **more)

    warnings.showwarning = collect
    try:
        yield texts
    finally:
        warnings.showwarning = show
