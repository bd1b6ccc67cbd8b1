# Two commands do everything: `make leap-run TEST_SCENE_DIR=avocado_translate_1` and `make test`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
# Prerequisites are steps in the order in which they are written.
.NOTPARALLEL:

TEST_SCENE_DIR ?= avocado_translate_1
ARGS ?=
SCAN ?=
FLIPPED ?=
SOURCE ?= realsense
ENGINE ?= auto
VENV ?= .venv
# Installed before anything else, because what a plain "torch" resolves to may be gigabytes of CUDA packages. Set it (and
# PIP_EXTRA_INDEX_URL, which pip reads) to choose another build.
TORCH_SPEC ?= torch==2.13.0
PYTEST_ARGS ?=
# Each of the tests' processes needs up to 2 GB.
TEST_PROCESSES ?= $(if $(has_gpu),0,logical)

# The first interpreter that can make the virtual environment.
suits := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))
ifndef PYTHON
PYTHON := $(shell for name in python3 python3.13 python3.12 python3.11 python3.10; do \
	if $$name -c '$(suits)' 2>/dev/null; then echo $$name; exit; fi; done; echo python3)
endif

export ENGINE PYTHON VENV TORCH_SPEC

python := $(VENV)/bin/python
has_gpu := $(shell nvidia-smi -L >/dev/null 2>&1 && echo yes)
shell_files := run_container.sh system_libraries.sh .ci/run

# What OpenCV and Open3D load of the system.
opencv_libraries := libGL.so.1 libgthread-2.0.so.0
open3d_libraries := libEGL.so.1 libX11.so.6 libgomp.so.1 libusb-1.0.so.0
libraries := $(opencv_libraries) $(open3d_libraries)

.PHONY: help leap-run run live build system-libraries venv venv-live venv-scan venv-test venv-dev test lint format scene mesh bench clean-container clean

help: ## show this list
	@echo "usage: make TARGET [VARIABLE=value ...]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "variables (now):"
	@echo "  TEST_SCENE_DIR   scene folder, or its name under test_data/ ($(TEST_SCENE_DIR))"
	@echo "  ARGS             further arguments of run_demo.py"
	@echo "  SOURCE           where live frames come from: a camera, a recording, a bag ($(SOURCE))"
	@echo "  SCAN, FLIPPED    recordings that mesh makes a mesh of, upright and upside down"
	@echo "  ENGINE           auto, docker, podman, or none for a local virtual environment ($(ENGINE))"
	@echo "  PYTHON, VENV     interpreter that makes the virtual environment, and its place ($(PYTHON), $(VENV))"
	@echo "  TORCH_SPEC       the PyTorch to install ($(TORCH_SPEC))"
	@echo "  PYTEST_ARGS      further arguments of pytest"
	@echo "  TEST_PROCESSES   that share the tests: a number, or logical: one for each core, at most 4 ($(TEST_PROCESSES))"

leap-run: ## set up what is needed and run the demo on TEST_SCENE_DIR (container with GPU, container, or .venv)
	@./run_container.sh '$(TEST_SCENE_DIR)' $(ARGS)

run: ## run the demo on TEST_SCENE_DIR in the local virtual environment
	@ENGINE=none ./run_container.sh '$(TEST_SCENE_DIR)' $(ARGS)

live: ## follow an object before a camera, or through a recording, live: SOURCE=realsense ARGS="--mesh_file mug.obj --viewer"
	@./run_container.sh --source '$(SOURCE)' $(ARGS)

build: ## build the container image that leap-run uses
	@./run_container.sh --build-only

system-libraries: ## see to the system's libraries that OpenCV and Open3D load (part of run, test and mesh)
	@$(call check_python,$(or $(wildcard $(python)),$(PYTHON)))
	@./system_libraries.sh '$(or $(wildcard $(python)),$(PYTHON))' $(libraries)

venv: libraries := $(opencv_libraries)
venv: system-libraries $(VENV)/.installed-run ## make the local virtual environment (done once; again when pyproject.toml changes)
venv-live: libraries := $(opencv_libraries)
venv-live: system-libraries $(VENV)/.installed-live
venv-scan: system-libraries $(VENV)/.installed-scan
venv-test: $(VENV)/.installed-test
venv-dev: $(VENV)/.installed-dev

define check_python
$(1) -c '$(suits)' 2>/dev/null || { \
	if $(1) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
		echo "error: $(1) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
	else \
		echo "error: PYTHON=$(1) is missing or older than Python 3.10; pass PYTHON=/path/to/python3.11" >&2; \
	fi; exit 2; }
endef

# One stamp file for each set of packages, so that nothing is installed twice.
$(VENV)/.created:
	@$(call check_python,$(PYTHON))
	$(PYTHON) -m venv '$(VENV)'
	@touch '$@'

$(VENV)/.installed-torch: $(VENV)/.created
	@cpu_build='$(if $(has_gpu)$(findstring +,$(TORCH_SPEC)),,$(if $(filter torch==%,$(TORCH_SPEC)),$(TORCH_SPEC)+cpu))'; \
	if [ "$$(uname -s)" = Linux ] && [ -n "$$cpu_build" ]; then \
		echo "no NVIDIA GPU found: looking for the CPU build $$cpu_build first"; \
		if $(python) -m pip install "$$cpu_build"; then touch '$@'; exit 0; fi; \
		echo "pip finds no $$cpu_build; $(TORCH_SPEC) may bring gigabytes of CUDA packages. To avoid that, stop and set" >&2; \
		echo "PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds, named on its installation page." >&2; \
	fi; \
	$(python) -m pip install '$(TORCH_SPEC)'; touch '$@'

$(VENV)/.installed-run: pyproject.toml $(VENV)/.installed-torch
	$(python) -m pip install --editable '.$(if $(has_gpu),[gpu])'
	@touch '$@'

$(VENV)/.installed-scan: $(VENV)/.installed-run
	$(python) -m pip install --editable '.[scan]'
	@touch '$@'

$(VENV)/.installed-live: $(VENV)/.installed-run
	$(python) -m pip install --editable '.[live]'
	@touch '$@'

$(VENV)/.installed-test: $(VENV)/.installed-run
	$(python) -m pip install --editable '.[test]'
	@touch '$@'

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(python) -m pip install --editable '.[dev]'
	@touch '$@'

test: system-libraries venv-test ## set up what the tests need and run them (PYTEST_ARGS='-k camera')
	$(python) -m pytest --numprocesses='$(TEST_PROCESSES)' --maxprocesses=4 --dist=loadfile $(PYTEST_ARGS)

lint: venv-dev ## ruff, mypy, shellcheck and hadolint; changes nothing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/shellcheck $(shell_files)
	$(VENV)/bin/hadolint Dockerfile

format: venv-dev ## put the code into the project's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

scene: venv ## make the avocado scene if it is missing
	$(python) -m test_data.make_avocado_scene

mesh: system-libraries $(VENV)/.installed-scan ## mesh and labels of a scan: SCAN=folder [FLIPPED=folder]
	@test -n '$(SCAN)' || { echo "error: name the recording: make mesh SCAN=folder [FLIPPED=folder]" >&2; exit 2; }
	$(python) -m mesh_creation run --scan '$(SCAN)' $(if $(FLIPPED),--flipped '$(FLIPPED)')

bench: venv ## measure speed on this machine and print tables
	$(python) -m benchmarks.rendering
	$(python) -m benchmarks.speed

clean-container: ## remove the container images that leap-run built
	@./run_container.sh --clean

clean: ## remove the virtual environment and caches (results and scenes stay)
	rm -rf -- '$(VENV)' .cache .pytest_cache .ruff_cache .mypy_cache
