"""Who may import whom, and what else test_architecture.py holds the project to (docs/architecture.md)."""

from __future__ import annotations

OWN = (
    "pose6d",
    "learning",
    "mesh_creation",
    "quantization",
    "test_data",
    "benchmarks",
    "estimater",
    "many_objects",
    "live",
    "recorded",
    "run_demo",
)
MAXIMUM_LINES = 400

BASE = (
    "pose6d.errors",
    "pose6d.closing",
    "pose6d.device",
    "pose6d.json_file",
    "pose6d.whole_file",
    "pose6d.command",
    "pose6d.weights",
    "pose6d.compiled",
    "pose6d.cuda_kernels",
    "pose6d.pieces",
    "pose6d.quick_imports",
    "pose6d.one_heap",
    "pose6d.random_draws",
)
GEOMETRY = (*BASE, "pose6d.geometry")
MESH = (*GEOMETRY, "pose6d.mesh")
SCENES_AND_RENDERING = (*MESH, "pose6d.rendering", "pose6d.scenes")
SCAN_FILES = (
    *SCENES_AND_RENDERING,
    "mesh_creation.scan_folder",
    "mesh_creation.step_files",
)
SCAN_BOARD = (*SCAN_FILES, "mesh_creation.board")
PREDICTORS = ("learning.training.predict_pose_refine", "learning.training.predict_score", "learning.training.scouts")

# Module (pattern) -> own modules it may import besides those of its own package. The first matching pattern counts.
ALLOWED: list[tuple[str, tuple[str, ...]]] = [
    ("quantization*", ("pose6d", "learning")),  # its command, too, works where benchmarks/ is not installed
    ("*.__main__", OWN),
    ("run_demo", OWN),
    ("benchmarks.*", OWN),
    ("pose6d.geometry.mesh*", MESH),  # names from before pose6d.mesh
    ("pose6d.geometry*", BASE),
    ("pose6d.mesh*", GEOMETRY),
    ("pose6d.rendering*", MESH),
    ("pose6d.scenes*", MESH),
    ("pose6d.camera_simulation*", GEOMETRY),
    ("pose6d.search*", SCENES_AND_RENDERING),
    ("pose6d.streams*", (*MESH, "pose6d.scenes")),
    ("pose6d.segmentation*", (*MESH, "pose6d.scenes")),
    ("pose6d.evaluation*", SCENES_AND_RENDERING),
    ("pose6d.report*", (*SCENES_AND_RENDERING, "pose6d.evaluation")),
    ("pose6d*", BASE),
    ("learning*", (*SCENES_AND_RENDERING, "pose6d.camera_simulation", "pose6d.search", "pose6d.evaluation")),
    ("estimater", ("pose6d", "mesh_creation.reference_views", *PREDICTORS)),
    ("many_objects", ("pose6d", "estimater", *PREDICTORS)),
    ("live*", ("pose6d", "estimater", "many_objects", "mesh_creation.reference_views", *PREDICTORS)),
    ("recorded*", ("pose6d", "estimater", "mesh_creation.reference_views", "test_data", *PREDICTORS)),
    ("mesh_creation.board*", SCENES_AND_RENDERING),
    ("mesh_creation.labels*", (*SCAN_FILES, "pose6d.report")),
    ("mesh_creation.fusion*", (*SCAN_BOARD, "mesh_creation.registration")),
    (
        "mesh_creation.object_field*",
        (
            *SCAN_BOARD,
            "mesh_creation.registration",
            "mesh_creation.fusion",
            "mesh_creation.reference_views",
            "mesh_creation.completion",
        ),
    ),
    (
        "mesh_creation.reference_views*",
        (
            *SCAN_FILES,
            "pose6d.report",
            "mesh_creation.registration",
            "mesh_creation.fusion",
            "mesh_creation.object_field",
        ),
    ),
    (
        "mesh_creation.completion*",
        (
            *SCAN_BOARD,
            "mesh_creation.registration",
            "mesh_creation.fusion",
            "mesh_creation.reference_views",
            "pose6d.segmentation",
        ),
    ),
    ("mesh_creation.simulation*", (*SCAN_BOARD, "pose6d.camera_simulation")),
    (
        "mesh_creation.markerless*",
        (
            *SCAN_BOARD,
            "mesh_creation.registration",
            "mesh_creation.reference_views",
            "pose6d.streams",
            "pose6d.search",
            "pose6d.segmentation",
        ),
    ),
    ("mesh_creation.recording*", (*SCAN_BOARD, "pose6d.streams")),
    ("mesh_creation.*.*", SCAN_BOARD),  # registration
    ("mesh_creation*", SCENES_AND_RENDERING),
    ("test_data*", ("pose6d", "learning.datasets")),
]

# Package -> the only files (patterns) that import it.
HOMES: dict[str, tuple[str, ...]] = {
    "numba": (
        "pose6d/compiled.py",
        *(f"learning/inference/{name}.py" for name in ("llvm_vectors", "block_product", "winograd_tiles")),
    ),
    "cupy": ("pose6d/cuda_kernels.py",),
    "nvdiffrast": ("pose6d/rendering/*",),
    "onnxruntime": ("learning/inference/onnx_runner.py", "quantization/*"),
    "matplotlib": ("pose6d/*/*_plot*.py", "learning/training/training_plot.py", "benchmarks/*_plot.py"),
    "pyrealsense2": ("pose6d/streams/realsense.py",),
    "rosbags": ("pose6d/streams/ros_messages.py",),
    "viser": ("live/viewer.py",),
    "mcap": ("live/mcap_output.py",),
    "mcap_protobuf": ("live/mcap_output.py",),
    "foxglove_schemas_protobuf": ("live/mcap_output.py",),
    "cv2.aruco": ("mesh_creation/board/*",),
    "diffusers": ("learning/datasets/texture_generation/pictures.py",),
}
# Slow to import, and not needed by every run: nothing imports it before it is needed.
DEFERRED = ("matplotlib", "onnxruntime", "onnx", "open3d", "sympy", "torch._dynamo", "torch._inductor", "torch.onnx")
DEFERRED += (
    "cupy",
    "ray",
    "pyrealsense2",
    "rosbags",
    "viser",
    "mcap",
    "learning.datasets",
    "mesh_creation",
    "quantization",
)
# The same, but for an estimator, which has a mesh.
MESH_PACKAGES = ("trimesh", "networkx", "scipy.spatial", "scipy.optimize", "numba")
FREE = ("tests/*", "benchmarks/*", "assets/*")  # may import anything
# Names that several public classes have. No new one may come; take off the list what is renamed.
SHARED_CLASS_NAMES = {"Options"}
