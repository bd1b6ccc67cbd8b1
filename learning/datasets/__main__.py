"""python -m learning.datasets: a picture of random training objects, to look at before a training run is paid for.

`python -m learning.datasets textures` makes pictures to mix in; --help after it lists its options.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from learning.datasets.objects.hands import make_hands
from learning.datasets.objects.random_objects import KINDS, make_kind, make_objects
from learning.datasets.surfaces.materials import make_materials
from learning.datasets.texture_generation.generate import TextureOptions, generate_textures
from pose6d.command import run_command_line
from pose6d.errors import as_whole_number
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.report.contact_sheet import contact_sheet
from pose6d.scenes.images import write_image


@dataclass(frozen=True)
class SheetOptions:
    """What to draw."""

    out: Path = Path("objects.png")
    show: Literal["mixed", "free", "made", "marked", "kinds", "hands", "materials"] = "mixed"
    """mixed: free forms and made things; marked: nearly symmetric ones, of which training has a share; kinds: one row
    for each kind, whose names are printed in order"""
    count: int = 64
    """objects; with kinds, objects of each kind"""
    columns: int = 8
    seed: int = 0
    size: int = 160
    """pixels per object"""


def object_sheet(meshes: list[Mesh], columns: int, size: int = 160) -> np.ndarray:
    """(h, w, 3) uint8: every mesh of unit diameter in a random pose, lit from the camera."""
    renderer = make_renderer(meshes, "cpu")
    generator = torch.Generator().manual_seed(0)
    count, focal = len(meshes), 2.7 * size
    translation = torch.tensor([0.0, 0.0, 3.1]).expand(count, 3)
    poses = make_transform(random_rotations(count, generator=generator), translation)
    K = torch.tensor([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]])
    rendering = renderer.render(poses, K, (size, size), mesh_index=torch.arange(count), normals=True)
    assert rendering.normal is not None
    light = torch.nn.functional.normalize(torch.tensor([-0.4, -0.6, -0.7]), dim=0)
    lit = rendering.color * (0.55 + 0.6 * (rendering.normal @ light).clamp(min=0))[..., None]
    lit = torch.where(rendering.mask[..., None], lit, torch.tensor([0.32, 0.35, 0.42]))
    return contact_sheet(list((lit.clamp(0, 1) * 255).to(torch.uint8).numpy()), columns)


def main(options: SheetOptions) -> None:
    for name, least in (("seed", 0), ("count", 1), ("columns", 1), ("size", 1)):
        as_whole_number(getattr(options, name), f"--{name}", least=least)
    seeds = range(options.seed, options.seed + options.count)
    if options.show == "materials":
        sheet = contact_sheet(list(make_materials(options.count, options.seed)), options.columns)
    elif options.show == "hands":
        sheet = object_sheet(make_hands(seeds, progress=False), options.columns, options.size)
    elif options.show == "kinds":
        print("\n".join(f"row {row}: {kind}" for row, kind in enumerate(KINDS)))
        meshes = [
            make_kind(kind, np.random.default_rng([seed, row])) for row, kind in enumerate(KINDS) for seed in seeds
        ]
        sheet = object_sheet(meshes, options.count, options.size)
    else:
        sheet = object_sheet(make_objects(seeds, family=options.show), options.columns, options.size)
    write_image(options.out, sheet)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["textures"]:
        run_command_line(
            generate_textures,
            TextureOptions,
            interrupted="interrupted; what is made is kept, and the same command goes on from there",
            args=sys.argv[2:],
            prog="python -m learning.datasets textures",
        )
    run_command_line(main, SheetOptions, description=__doc__)
