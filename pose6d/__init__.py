"""Geometry, rendering, recordings, evaluation and reports of 6D pose estimation.

Importing it, before PyTorch, keeps OpenMP's threads from spinning for long while they wait for each other. By default
GNU's OpenMP, which PyTorch and numba use on Linux, spins for milliseconds. Beside other busy processes the thread that
is waited for then has no core to run on, and a frame takes up to forty times as long. Whoever sets one of the
variables decides instead.
"""

import os

_SPINS = 1000
"""tens of microseconds: longer than most waits, so that nothing is lost where all cores are free"""

if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = str(_SPINS)
