# One recipe for two images. BASE_IMAGE is any Debian or Ubuntu with Python >= 3.10 in its packages:
#   CPU:  docker build -t pose6d:cpu .
#   CUDA: docker build -t pose6d:cuda --build-arg BASE_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04 --build-arg DEVICE=cuda .
# pip reads PIP_INDEX_URL and PIP_EXTRA_INDEX_URL given as build arguments, for a mirror of your own.
ARG BASE_IMAGE=debian:bookworm-slim

# ---- the system and the Python packages; only pyproject.toml can make this stage run again
# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS dependencies

# libgl1 and libglib2.0-0 are for OpenCV; libegl1, libgomp1, libusb-1.0-0 and libx11-6 for Open3D.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates make python3 python3-venv libegl1 libgl1 libglib2.0-0 libgomp1 libusb-1.0-0 libx11-6 \
    && rm -rf /var/lib/apt/lists/*

ARG DEVICE=cpu
ARG TORCH_SPEC=torch==2.13.0
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1

# Versions are bounded in pyproject.toml and by TORCH_SPEC.
# The CPU build first where it will do; without one in pip's indexes, whatever TORCH_SPEC brings.
# hadolint ignore=DL3013
RUN python3 -m venv /opt/venv \
    && case "${DEVICE} ${TORCH_SPEC}" in \
        *+* | cuda\ *) pip install "${TORCH_SPEC}" ;; \
        *) pip install "${TORCH_SPEC}+cpu" || pip install "${TORCH_SPEC}" ;; \
    esac

# Empty modules stand in for the code, so that a change of code does not install the packages again.
WORKDIR /opt/requirements
COPY pyproject.toml ./
# hadolint ignore=DL3013
RUN touch README.md LICENSE estimater.py many_objects.py run_demo.py \
    && if [ "${DEVICE}" = cuda ]; then pip install ".[gpu,scan,onnx,live]"; else pip install ".[scan,onnx,live]"; fi \
    && pip uninstall --yes pose6d

# ---- what run_container.sh runs, with the checkout mounted: all but the code, so that changing the code rebuilds nothing
FROM dependencies AS runtime
# Any user may write the home, where compiled code is kept: --user names one whom the image does not know.
RUN useradd --create-home --uid 10001 pose6d && chmod 1777 /home/pose6d && mkdir /workspace && chown pose6d: /workspace
WORKDIR /workspace
USER 10001
ENV PYTHONPATH=/workspace HOME=/home/pose6d NUMBA_CACHE_DIR=/home/pose6d/.cache/numba PYTHONUNBUFFERED=1
# Nothing in the image reports its use to anybody, ONNX Runtime by itself neither.
ENV ORT_DISABLE_TELEMETRY=1
CMD ["python", "run_demo.py"]

# ---- the tests: docker build --target test -t pose6d:test . && docker run --rm pose6d:test
FROM runtime AS test
USER 0
WORKDIR /opt/requirements
# hadolint ignore=DL3013
RUN pip install ".[test]" && pip uninstall --yes pose6d
WORKDIR /workspace
COPY --chown=10001 . .
USER 10001
CMD ["python", "-m", "pytest", "--numprocesses=logical", "--maxprocesses=4", "--dist=loadfile"]

# ---- the whole program in one image, for machines without a checkout
FROM runtime AS application
COPY --chown=10001 . .
# The demo's scene and the compiled loops, which each new container would make again, for more than a minute. numba takes
# what was compiled only with source files of the same time, of which registries keep no more than the seconds.
RUN find . -name '*.py' -exec touch --date=2000-01-01 {} + \
    && python run_demo.py --frames 3 \
    && rm -rf debug && mkdir -m 1777 debug && chmod -R a+rwX /home/pose6d/.cache
