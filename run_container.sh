#!/usr/bin/env bash
# Run the demo on one scene: in a container with the GPU, in a container on the CPU, or in a local virtual environment.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ./run_container.sh [SCENE] [arguments of run_demo.py ...]
       ./run_container.sh --source SOURCE [arguments of run_demo.py --source ...]
       ./run_container.sh --build-only | --clean | --help

SCENE is a scene folder, or its name under test_data/ (default: avocado_translate_1).
SOURCE is where live frames come from: realsense, a recording or a bag (docs/live.md). The container then gets the
cameras at USB, and shares this machine's network, so that the viewer's page and the poses can be reached.

environment:
  ENGINE        auto (default), docker, podman, or none for the local virtual environment
  IMAGE         name of the image (default: pose6d-runtime:cpu or pose6d-runtime:cuda)
  BASE_IMAGE    image to build on (default: debian:bookworm-slim, or an NVIDIA CUDA base for the GPU)
  TORCH_SPEC    the PyTorch to install (default: torch==2.13.0)
  ENGINE_FLAGS, BUILD_FLAGS, RUN_FLAGS
                further words for the engine itself, its build and its run command
  VENV, PYTHON  used with ENGINE=none, see `make help`

The container sees the checkout, and nothing else of this machine. A scene folder outside the checkout that you name is
the one exception: it is mounted read-only at the same path.
TEXT
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
caller_directory=$PWD
cpu_base=debian:bookworm-slim
cuda_base=nvidia/cuda:13.0.2-base-ubuntu24.04
engine_request=${ENGINE:-auto}
torch_spec=${TORCH_SPEC:-torch==2.13.0}
read -r -a engine_flags <<<"${ENGINE_FLAGS:-}"
read -r -a build_flags <<<"${BUILD_FLAGS:-}"
read -r -a run_flags <<<"${RUN_FLAGS:-}"

say() { printf 'run_container: %s\n' "$*" >&2; }
fail() {
    say "error: $*"
    exit 2
}

# Bash 3.2 (macOS) calls an empty array unset, hence ${array[@]+"${array[@]}"} here and below.
engine_command() { "$engine" ${engine_flags[@]+"${engine_flags[@]}"} "$@"; }

# Ask an engine whether it works; a dead remote daemon must not block the door for minutes.
engine_answers() {
    local limit=()
    if command -v timeout >/dev/null; then limit=(timeout 30); fi
    engine_reply=$(${limit[@]+"${limit[@]}"} "$1" ${engine_flags[@]+"${engine_flags[@]}"} info 2>&1)
}

# Sets engine (docker, podman or none) and why.
choose_engine() {
    local name reasons=""
    case $engine_request in
    none)
        engine=none why="ENGINE=none asks for it"
        return
        ;;
    docker | podman)
        command -v "$engine_request" >/dev/null || fail "ENGINE=$engine_request, but there is no $engine_request on PATH"
        engine_answers "$engine_request" ||
            fail "ENGINE=$engine_request, but it does not work: $(tail -n 1 <<<"$engine_reply")"
        engine=$engine_request why="ENGINE=$engine_request asks for it"
        return
        ;;
    auto) ;;
    *) fail "ENGINE=$engine_request is unknown; use auto, docker, podman or none" ;;
    esac
    for name in docker podman; do
        if ! command -v "$name" >/dev/null; then
            reasons+="${reasons:+; }no $name"
        elif engine_answers "$name"; then
            engine=$name why="$name is installed and works"
            return
        else
            reasons+="${reasons:+; }$name does not work ($(tail -n 1 <<<"$engine_reply"))"
        fi
    done
    engine=none why=$reasons
}

# Sets gpu_flags (empty: CPU) and gpu_why.
choose_gpu() {
    gpu_flags=()
    if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L >/dev/null 2>&1; then
        gpu_why="no NVIDIA GPU found (nvidia-smi)"
        return
    fi
    if [[ $engine == docker && $engine_reply == *nvidia* ]]; then
        gpu_flags=(--gpus all) gpu_why="GPU and docker's NVIDIA runtime found"
    elif [[ $engine == podman ]] && { compgen -G "${CDI_ROOT:-}/etc/cdi/nvidia*" || compgen -G "${CDI_ROOT:-}/var/run/cdi/nvidia*"; } >/dev/null; then
        gpu_flags=(--device nvidia.com/gpu=all) gpu_why="GPU and its container description (CDI) found"
    else
        gpu_why="there is a GPU, but $engine has no NVIDIA runtime: install the NVIDIA Container Toolkit, or use ENGINE=none"
    fi
}

describe_image() {
    if [[ ${#gpu_flags[@]} -gt 0 ]]; then device=cuda base=${BASE_IMAGE:-$cuda_base}; else device=cpu base=${BASE_IMAGE:-$cpu_base}; fi
    image=${IMAGE:-pose6d-runtime:$device}
}

build_image() {
    local name arguments=(--build-arg "BASE_IMAGE=$base" --build-arg "DEVICE=$device" --build-arg "TORCH_SPEC=$torch_spec")
    for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL; do
        if [[ -n ${!name:-} ]]; then arguments+=(--build-arg "$name=${!name}"); fi
    done
    say "building image $image on $base (quick when nothing changed)"
    engine_command build --target runtime --tag "$image" "${arguments[@]}" ${build_flags[@]+"${build_flags[@]}"} "$root" >&2
}

# The scene as a path that is valid from the root of the checkout; scenes made on first use need not exist yet.
resolve_scene() {
    if [[ -d $caller_directory/$1 && $1 != /* ]]; then
        scene=$(cd -- "$caller_directory/$1" && pwd -P)
    elif [[ -d $1 ]]; then
        scene=$(cd -- "$1" && pwd -P)
    elif [[ $1 == */* ]]; then
        scene=$1
    else
        scene=test_data/$1
    fi
    scene=${scene#"$root"/}
}

# The same of live frames; the name of a camera stays as it is.
resolve_source() {
    case $1 in
    realsense | realsense:* | *.py:*) scene=$1 ;;
    *)
        if [[ -f $1 ]]; then
            scene=$(cd -- "$(dirname -- "$1")" && pwd -P)/${1##*/}
            scene=${scene#"$root"/}
        else
            resolve_scene "$1"
        fi
        ;;
    esac
}

# A path that the container cannot see would fail there, or worse, take results with it when the container ends.
refuse_outside_paths() {
    local argument path
    for argument in "$@"; do
        path=${argument#--*=}
        case $path in
        "$root" | "$root"/* | "$scene" | "$scene"/*) ;;
        /* | ../*) fail "$path lies outside the checkout, where the container cannot see it: move it into $root, or use ENGINE=none" ;;
        esac
    done
}

# Sets camera_flags: the cameras at USB and the network, for live frames alone.
choose_cameras() {
    local device
    camera_flags=()
    if [[ $mode != --source ]]; then return; fi
    camera_flags=(--network host)
    for device in /dev/bus/usb /dev/video*; do
        if [[ -e $device ]]; then camera_flags+=(--device "$device"); fi
    done
}

# Who the process in the container is, so that results belong to the caller.
user_flags() {
    if [[ $engine == podman ]]; then
        identity=(--security-opt label=disable)
        # Rootful podman refuses keep-id; there the caller is root already.
        if [[ $(id -u) -ne 0 ]]; then identity+=(--userns keep-id --user "$(id -u):$(id -g)"); else identity+=(--user 0:0); fi
    elif [[ $engine_reply == *rootless* ]]; then
        identity=(--user 0:0) # root in a rootless container is the caller outside
    else
        identity=(--user "$(id -u):$(id -g)")
    fi
    # Docker brings the small first process that hands signals on; podman may come without one.
    if [[ $engine == docker ]]; then identity+=(--init); fi
}

run_in_container() {
    local flags=(--rm --workdir "$root" --mount "type=bind,source=$root,target=$root")
    local cache=$root/.cache name
    mkdir -p "$cache/home"
    user_flags
    choose_cameras
    flags+=("${identity[@]}" ${gpu_flags[@]+"${gpu_flags[@]}"} ${camera_flags[@]+"${camera_flags[@]}"})
    flags+=(--env "HOME=$cache/home" --env "NUMBA_CACHE_DIR=$cache/numba" --env "CUPY_CACHE_DIR=$cache/cupy")
    flags+=(--env "PYTHONPATH=$root" --env PYTHONUNBUFFERED=1)
    for name in ${!TEST_SCENE_@} OMP_NUM_THREADS NUMBA_NUM_THREADS; do
        if [[ -n ${!name:-} ]]; then flags+=(--env "$name"); fi
    done
    if [[ $scene == /* && -e $scene ]]; then
        say "mounting $scene read-only: it lies outside the checkout"
        flags+=(--mount "type=bind,source=$scene,target=$scene,readonly")
    fi
    if [[ -t 0 && -t 1 ]]; then flags+=(--interactive --tty); fi
    # The engine takes this script's place, so that who stops the one stops the other.
    exec "$engine" ${engine_flags[@]+"${engine_flags[@]}"} run "${flags[@]}" ${run_flags[@]+"${run_flags[@]}"} "$image" python run_demo.py "$mode" "$scene" "$@"
}

run_in_venv() {
    local venv=${VENV:-.venv} word
    make --no-print-directory -C "$root" "venv${live}" >&2
    for word in "$@"; do # an object without a mesh is made with Open3D
        if [[ $word == --reference[_-]views* ]]; then make --no-print-directory -C "$root" venv-scan >&2; fi
    done
    cd -- "$root"
    exec "$venv/bin/python" run_demo.py "$mode" "$scene" "$@"
}

case ${1:-} in
--help | -h)
    usage
    exit 0
    ;;
esac
mode=--test_scene_dir live=
choose_engine
gpu_flags=() gpu_why=""
if [[ $engine != none ]]; then
    choose_gpu
    describe_image
fi

case ${1:-} in
--build-only)
    if [[ $engine == none ]]; then fail "there is no container engine to build with: $why"; fi
    build_image
    exit 0
    ;;
--clean)
    if [[ $engine == none ]]; then
        say "nothing to remove: $why"
        exit 0
    fi
    for name in ${IMAGE:-pose6d-runtime:cpu pose6d-runtime:cuda}; do
        if engine_command image inspect "$name" >/dev/null 2>&1; then
            engine_command image rm "$name" && say "removed $name"
        fi
    done
    exit 0
    ;;
--source)
    if [[ $# -lt 2 ]]; then fail "--source wants to know where frames come from; see --help"; fi
    mode=--source live=-live
    shift
    ;;
-*) fail "the first argument is the scene, found the option $1; see --help" ;;
esac

if [[ -n $live ]]; then resolve_source "$1"; else resolve_scene "${1:-avocado_translate_1}"; fi
if [[ $# -gt 0 ]]; then shift; fi

if [[ $engine != none ]]; then
    say "mode: $engine container on ${device/cuda/GPU} ($why; $gpu_why)"
    refuse_outside_paths "$@"
    if build_image; then
        run_in_container "$@"
    fi
    if [[ $engine_request != auto ]]; then fail "the image could not be built, see above"; fi
    why="the image could not be built with $engine, see above" engine=none
fi
say "mode: local virtual environment ($why)"
run_in_venv "$@"
