"""`python -m mesh_creation <step>`: a mesh of your own object from an RGB-D camera.

simulate makes a recording with ground truth, for people without a camera.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from mesh_creation.simulator import Simulation, simulate
from pose6d.errors import Pose6DError
from pose6d.geometry.mesh import Unit
from pose6d.geometry.mesh_files import load_mesh


def simulate_recording(
    mesh: Path, out: Path, unit: Unit = "m", simulation: Annotated[Simulation, tyro.conf.arg(name="")] = Simulation()
) -> None:
    """Simulate a recording of a mesh on a board, with ground truth in truth/.

    Args:
        mesh: the object, z up: obj, ply, glb, gltf or stl.
        out: the folder to make.
        unit: of the mesh's file.
        simulation: what to record.
    """
    print(simulate(load_mesh(mesh, unit), out, simulation))


def main() -> None:
    """Run one step; bad input ends with its message and status 1."""
    try:
        tyro.extras.subcommand_cli_from_dict({"simulate": simulate_recording, "version": lambda: print(1)})
    except Pose6DError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
