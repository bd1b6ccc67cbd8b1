"""One object in a recording: scene in, poses, video and report out. The example to copy."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from estimater import FoundationPose
from learning.training.predict_pose_refine import PoseRefinePredictor
from learning.training.predict_score import ScorePredictor
from learning.training.scouts import load_scouts
from pose6d.command import exit_code, finish_what_is_begun
from pose6d.device import resolve_device
from pose6d.errors import FrameError, OptionError, Pose6DError, SceneError, listing, shorten
from pose6d.evaluation.truth_check import check_frame_truth
from pose6d.geometry.camera import describe_intrinsics, unusual_intrinsics
from pose6d.geometry.color_depth_offset import remove_depth_offset, resolve_depth_offset
from pose6d.geometry.depth import check_depth, doubt_rounded_depth
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.mesh.symmetry import mesh_symmetries, resolve_symmetry, symmetry_beside
from pose6d.mesh.units import resolve_unit
from pose6d.rendering import make_renderer
from pose6d.report.comparison import compare_poses, require_ground_truth
from pose6d.report.comparison_plots import write_comparison
from pose6d.report.html_report import write_html_report
from pose6d.report.refinement_trace import RefinementTrace
from pose6d.report.result_writer import ResultWriter
from pose6d.report.run_facts import RunFacts, collect_warnings
from pose6d.report.run_folder import RunFolder
from pose6d.report.run_record import RunRecord
from pose6d.scenes import Frame, Scene, open_scene
from pose6d.scenes.frame import MESH_SUFFIXES
from pose6d.scenes.selection import select_frames
from pose6d.scenes.timestamps import recording_fps
from pose6d.scenes.unused_files import same_file, unused_files
from pose6d.search.interfaces import Watch
from pose6d.weights import find_weights
from recorded.options import RecordedOptions
from test_data.default_scene import get_default_scene
from test_data.scenes_folder import AVOCADO, SCENES

OK, SOME_FRAMES_FAILED = 0, 3


def run_recorded(options: RecordedOptions, make_estimator: Callable[..., Any] = FoundationPose) -> int:
    """Scene in, poses out.

    1. Open the recording; read its first frame and the object's mask in it.
    2. Load the mesh in metres, and its symmetries.
    3. Make the estimator.
    4. Register the object in the first frame.
    5. Track it through the others.
    6. Report.
    """
    check_numbers(options)
    device = resolve_device(options.device)
    record = RunRecord()

    with collect_warnings() as warned:
        with record.stage("open scene"):
            scene, frames, fps, first = open_recording(options)
        with record.stage("load mesh"):
            mesh, symmetries = load_object(options, scene, first)
        with record.stage("load networks"):
            weights = find_weights(options.weights, "refiner", device.type).parent
            estimator = make_estimator(
                mesh,
                symmetries=symmetries,
                device=device,
                weights=options.weights,
                schedule=options.schedule,
                **quantized_networks(options, device),
            )
        estimator.cropped = options.cropped
        if device.type == "cuda":  # a CPU has little to warm up
            with record.stage("warm up"):
                judge = options.judge and estimator.scorer.has_confidence
                estimator.warm_up(*first.depth.shape, options.est_refine_iter, options.track_refine_iter, judge)
    if options.debug_dir is None:
        folder = RunFolder.new(Path("debug") / scene.path.resolve().name)
    else:
        folder = RunFolder(options.debug_dir, overwrite=options.overwrite)
    print(f"device: {device}\nweights: {weights}\nresults: {folder.path}")

    renderer = make_renderer(mesh, device)
    with ResultWriter(
        folder, record, mesh, renderer, options.debug, compare=options.compare, symmetries=symmetries
    ) as writer:
        trace = RefinementTrace() if options.debug >= 2 else None
        pose = register(estimator, record, first, options.est_refine_iter, trace)
        writer.write(first, pose)
        if trace is not None:
            writer.write_registration(first, estimator, trace)
        stopped = track(estimator, record, writer, scene, frames[1:], options)
        finish_what_is_begun()

    facts = RunFacts(scene, mesh, asdict(options), device, weights, warned)
    seconds = {scene.names[index]: index / fps for index in frames}
    lines = report(options, record, writer, symmetries, seconds, facts)
    lines += record.lost_note() + folder.leftovers(list(seconds))
    lines.append(f"video: {writer.video}" if writer.video else f"poses: {folder.path / 'ob_in_cam'}")
    print("\n".join(lines))
    if record.failures:
        print(f"failed frames: {shorten(list(record.failures), 20)}", file=sys.stderr)
    return stopped or (SOME_FRAMES_FAILED if record.failures else OK)


def check_numbers(options: RecordedOptions) -> None:
    """Refuse numbers that make no sense before anything is read."""
    for name in ("est_refine_iter", "track_refine_iter"):
        steps = getattr(options, name)
        if steps is not None and steps < 1:
            raise Pose6DError(f"--{name} is {steps}: at least one refinement step is needed")
    if not 0 <= options.debug <= 3:
        raise Pose6DError(f"--debug is {options.debug}: wanted 0 (poses and timings) to 3 (everything)")


def open_recording(options: RecordedOptions) -> tuple[Scene, list[int], float, Frame]:
    """The recording, which of its frames are wanted, frames per second, and the first one with the object's mask."""
    scene = open_scene(
        find_scene(options.test_scene_dir),
        object_id=options.object_id,
        mask_dir=options.mask_file if options.mask_file and options.mask_file.is_dir() else None,
        depth_scale=options.depth_scale,
        cropped=options.cropped,
    )
    print(f"scene: {scene.path}: {scene.description}")
    frames = select_frames(options.frames, len(scene))
    fps = recording_fps(scene, options.fps)
    if options.compare:
        require_ground_truth(scene, frames)
    first = read_first_frame(scene, frames[0], options.mask_file)
    assert first.mask is not None  # read_first_frame has seen to it
    align_depth(options.depth_offset, scene, first)
    notes = scene.notes + unusual_intrinsics(first.K, *first.depth.shape)
    if notes:
        print("camera: " + "; ".join([describe_intrinsics(first.K), *notes]))
    print(f"mask: {np.count_nonzero(first.mask)} pixels in frame {first.name}, the only mask that is used")
    return scene, frames, fps, first


def quantized_networks(options: RecordedOptions, device: torch.device) -> dict[str, Any]:
    """What an estimator is made with to run quantised networks; nothing where it shall load the weights as they are."""
    if not options.quantized:
        return {}
    parts = {"refiner": PoseRefinePredictor, "scorer": ScorePredictor}
    networks: dict[str, Any] = {n: p(options.weights, device, quantized=options.quantized) for n, p in parts.items()}
    return {**networks, "scouts": load_scouts(options.weights, device)}


def find_scene(path: Path) -> Path:
    """The folder of a scene given by path, or by its name under test_data/; the avocado scene is made if need be."""
    name = Path(*path.parts[1:]) if path.parts[:1] == ("test_data",) else path
    for candidate in (path, SCENES / name):
        if candidate.exists():  # open_scene explains what is wrong with a file
            if os.environ.get("TEST_SCENE_URL"):
                ours = f"{candidate} is there already; move it away to download the recording"
                other = f"it is where {AVOCADO} comes from, and the scene is {candidate}"
                print(f"TEST_SCENE_URL is not used: {ours if candidate.name == AVOCADO else other}")
            return candidate
    folder = SCENES / AVOCADO
    if SCENES / name != folder:
        known = sorted({AVOCADO} | {entry.name for entry in SCENES.glob("*/") if not entry.name.startswith(("_", "."))})
        raise SceneError(f"scene {path} does not exist: wanted the folder of a recording, or one of {', '.join(known)}")
    if not os.environ.get("TEST_SCENE_URL"):
        print(f"making the scene {folder} (once, about a minute)")
    return get_default_scene(folder)


def read_first_frame(scene: Scene, index: int, mask_file: Path | None) -> Frame:
    """The frame to register in, with a mask that covers usable depth."""
    first = scene[index]
    if mask_file is not None and not mask_file.is_dir():
        first.mask = scene.read_mask(mask_file)
        first.check_sizes()
    if first.mask is None:
        later = next((i for i in range(index, len(scene)) if scene.has_mask(i)), None)
        other = "" if later is None else f"; or start at frame {scene.names[later]}, which has one: --frames {later}:"
        found = f"{mask_file} holds {listing(mask_file)}; " if mask_file is not None else ""
        if not (found or scene.choice or later):
            found = scene.masks_found
        raise SceneError(
            f"no mask for frame {first.name}, in which the object is to be found: {found}{scene.choice}pass "
            f"--mask_file, an image of its size that is not 0 on the object{other}"
        )
    check_depth(first.depth, first.mask, source=f"frame {first.name}")
    if rounded := doubt_rounded_depth(first.depth):
        warnings.warn(f"frame {first.name}: {rounded}", stacklevel=2)
    return first


def align_depth(choice: str, scene: Scene, first: Frame) -> None:
    """Move depth back onto colour, if need be, in the first frame and in all that are read from now on."""
    scene.depth_offset, reason = resolve_depth_offset(choice, first.rgb, first.depth)
    first.depth = remove_depth_offset(first.depth, scene.depth_offset)
    scene.notes += [reason] if reason else []


def find_mesh(options: RecordedOptions, scene: Scene) -> Path:
    """The mesh that the user names, or that is made of reference views, or the scene's own."""
    if options.reference_views is not None:
        if options.mesh_file is not None:
            raise OptionError("--mesh_file and --reference_views: the object is given by one of them")
        from mesh_creation.reference_views import object_from_views as views  # needs what few runs need

        return views.keep_object(options.reference_views, making=views.ObjectOptions(device=options.device))
    file = options.mesh_file or scene.mesh_file
    if file is None:
        folder = scene.path / "mesh"
        holds = shorten([file.name for file in scene.mesh_files]) or (listing(folder) if folder.is_dir() else "")
        found = f"it holds {holds}" if holds else "there is none"
        raise SceneError(
            f"no mesh: {scene.choice}pass --mesh_file, or put one mesh ({', '.join(MESH_SUFFIXES)}) into the scene's "
            f"mesh/ folder ({found})"
        )
    return file.expanduser()


def load_object(options: RecordedOptions, scene: Scene, first: Frame) -> tuple[Mesh, np.ndarray | None]:
    """The mesh in metres, and its symmetries (S, 4, 4) or None; says which, and what of the files given is not used."""
    file = find_mesh(options, scene)
    mesh = load_mesh(file, keep_debris=options.keep_debris)
    own = scene.mesh_file is not None and same_file(file, scene.mesh_file)
    unit = scene.mesh_unit if options.mesh_unit == "auto" and own else options.mesh_unit
    if options.reference_views is not None:
        unit = "m"
    assert first.mask is not None  # read_first_frame has seen to it
    scale, explanation = resolve_unit(
        mesh, unit, first.depth, first.mask, first.K, depth_stated=scene.depth_scale_stated
    )
    mesh = mesh.scaled(scale)
    plain = "" if mesh.colored else " of one colour, so that its shape alone tells how it lies"
    print(f"mesh: {file}: {len(mesh.faces)} faces{plain}, diameter {1000 * mesh.diameter:.1f} mm. {explanation}")
    check_frame_truth(first, mesh.center)
    if options.symmetry is not None:
        symmetries: Tensor | None = resolve_symmetry(options.symmetry, scale, scene.object_id)
        source = "--symmetry"
    else:
        symmetries, beside = mesh_symmetries(file, scale), symmetry_beside(file)
        source = str(beside[0]) if beside else "none stated"
    print(f"symmetries: {source if symmetries is None else f'{len(symmetries)} ({source})'}")
    unused = unused_files(scene, file, options.symmetry, options.mask_file)
    if options.fps is not None and options.debug == 0 and not options.compare:
        unused.append("--fps: nothing with a time axis is written at --debug 0 without --compare")
    for note in unused:
        warnings.warn(f"not used: {note}", stacklevel=2)
    return mesh, None if symmetries is None else symmetries.numpy()


def register(
    estimator: Any, record: RunRecord, frame: Frame, iterations: int, watch: Watch | None = None
) -> np.ndarray:
    """Find the object in the first frame; (4, 4) object in camera."""
    with tqdm(desc=f"register {frame.name}", unit="pair", mininterval=0.5, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            with record.stage("register"):
                pose = estimator.register(
                    frame.K, frame.rgb, frame.depth, frame.mask, iteration=iterations, progress=progress, watch=watch
                )
        except FrameError as error:
            raise FrameError(f"frame {frame.name}: {error}") from error
    record.add_details("register", estimator.timings)
    note_confidence(estimator, record, frame)
    if estimator.alternatives:
        record.alternatives[frame.name] = estimator.alternatives
    return pose


def note_confidence(estimator: Any, record: RunRecord, frame: Frame) -> None:
    """Keep how sure the estimator is of its last pose, if it says so."""
    if estimator.confidence is not None:
        record.confidence[frame.name] = estimator.confidence


def track(
    estimator: Any, record: RunRecord, writer: ResultWriter, scene: Scene, frames: list[int], options: RecordedOptions
) -> int:
    """Follow the object through the frames; one that cannot be used is named and left out.

    Returns:
        OK, or the exit code that says what stopped it.
    """
    center = writer.mesh.center
    judge = options.judge and estimator.confidence is not None  # weights without it would compute it for nothing
    try:
        for index in tqdm(frames, desc="track", unit="frame", mininterval=0.5, disable=not frames):
            try:
                with record.stage("read frames"):
                    frame = scene[index]
                    check_frame_truth(frame, center)
                with record.stage("track"):
                    pose = estimator.track_one(
                        frame.rgb, frame.depth, frame.K, iteration=options.track_refine_iter, judge=judge
                    )
            except SceneError as error:  # also intrinsics, which may differ from frame to frame
                record.failures[scene.names[index]] = str(error)
                tqdm.write(f"frame {scene.names[index]} is left out: {error}", file=sys.stderr)
                continue
            record.add_details("track", estimator.timings)
            note_confidence(estimator, record, frame)
            writer.write(frame, pose)
    except KeyboardInterrupt as stop:
        record.interrupted = True
        print(f"interrupted after {len(record.poses)} frame(s); what is done is kept", file=sys.stderr)
        return exit_code(stop)
    return OK


def report(
    options: RecordedOptions,
    record: RunRecord,
    writer: ResultWriter,
    symmetries: np.ndarray | None,
    seconds: dict[str, float],
    facts: RunFacts,
) -> list[str]:
    """Write times, errors, figures and the page; returns lines for people."""
    folder, mesh = writer.folder, writer.mesh
    lines = record.write_report(folder, mesh, symmetries, device=str(facts.device), weights=str(facts.weights))
    comparison = compare_poses(record.poses, record.truths, seconds, mesh, symmetries)
    if options.compare:
        lines += write_comparison(folder, comparison)
    if options.debug >= 1:
        page = write_html_report(folder.path / "report.html", facts, record, writer, seconds, comparison)
        lines.append(f"report: {page}")
    return lines
