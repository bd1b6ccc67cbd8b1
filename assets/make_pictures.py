"""Make the README's pictures from a finished run of the demo on the avocado scene.

python run_demo.py --compare --debug_dir debug/pictures
python assets/make_pictures.py --run_folder debug/pictures
"""

from __future__ import annotations

import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

ASSETS = Path(__file__).resolve().parent
sys.path.insert(0, str(ASSETS.parent))

from pose6d.command import run_command_line  # noqa: E402  (the checkout need not be installed)
from pose6d.errors import OutputError  # noqa: E402
from pose6d.mesh.mesh_files import load_mesh  # noqa: E402
from pose6d.rendering import make_renderer  # noqa: E402
from pose6d.report.overlay import PoseOverlay  # noqa: E402
from pose6d.scenes import Frame, open_scene  # noqa: E402

_GAP = 4  # pixels between the panels


@dataclass
class Options:
    """Which run to show."""

    run_folder: Path
    """The demo's --debug_dir, with ob_in_cam/ in it."""
    test_scene_dir: Path = ASSETS.parent / "test_data" / "avocado_translate_1"
    """The scene of that run; its mesh must be in metres."""
    output_folder: Path = ASSETS
    step: int = 2
    """Every how many frames the animation shows one."""


def main(options: Options) -> None:
    """Write tracking.webp (the overlay, moving), inputs.png (what goes in and comes out) and report.webp (the page)."""
    scene = open_scene(options.test_scene_dir)
    if scene.mesh_file is None:
        raise OutputError(f"{scene.path} has no mesh to draw")
    mesh = load_mesh(scene.mesh_file)
    overlay = PoseOverlay(mesh, make_renderer(mesh, "cpu"))

    drawn = []
    for index in range(0, len(scene), options.step):
        frame = scene[index]
        drawn.append(overlay.draw(frame.rgb, read_pose(options.run_folder, frame.name), frame.K))
    animation = [Image.fromarray(image).resize((480, 360), Image.Resampling.LANCZOS) for image in drawn]
    animation[0].save(
        options.output_folder / "tracking.webp",
        save_all=True,
        append_images=animation[1:],
        duration=1000 * options.step // 15,
        loop=0,
        quality=60,
    )

    panels = Image.fromarray(input_panels(scene[0], drawn[0]))
    panels.resize((panels.width // 2, panels.height // 2), Image.Resampling.LANCZOS).save(
        options.output_folder / "inputs.png", optimize=True
    )
    photograph_page(options.run_folder / "report.html", options.output_folder / "report.webp")


def photograph_page(page_file: Path, picture: Path) -> None:
    """Show the report in the system's Chromium, through playwright, and keep its upper part."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise OutputError("no chromium on the PATH, which draws the report")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 1440})
        page.goto(page_file.resolve().as_uri())
        page.wait_for_timeout(3000)  # the video and the 3-D view have no event that says they are drawn
        raw = page.screenshot()
        browser.close()
    shown = Image.open(io.BytesIO(raw)).convert("RGB")
    shown.resize((1080, 1080), Image.Resampling.LANCZOS).save(picture, quality=82)


def read_pose(run_folder: Path, name: str) -> np.ndarray:
    """(4, 4) object in camera that the run found for a frame."""
    file = run_folder / "ob_in_cam" / f"{name}.txt"
    if not file.is_file():
        raise OutputError(f"{file} is missing: run_folder must be the --debug_dir of a run over the whole scene")
    return np.loadtxt(file)


def input_panels(frame: Frame, result: np.ndarray) -> np.ndarray:
    """Colour, depth, mask and result side by side; (H, 4 W + gaps, 3) uint8."""
    if frame.mask is None:
        raise OutputError(f"frame {frame.name} has no mask to show")
    near, far = np.percentile(frame.depth[frame.depth > 0], [1, 99])
    level = np.clip((frame.depth - near) / max(far - near, 1e-6), 0, 1)
    depth = (255 * matplotlib.colormaps["turbo"](1 - level)[..., :3]).astype(np.uint8)
    depth[frame.depth == 0] = 0
    mask = np.repeat(np.where(frame.mask, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    gap = np.full((len(depth), _GAP, 3), 255, np.uint8)
    return np.concatenate([frame.rgb, gap, depth, gap, mask, gap, result], axis=1)


if __name__ == "__main__":
    run_command_line(main, Options, use_underscores=True)
