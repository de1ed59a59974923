"""Hyper-parameter searches over GAN configs: Ray Tune schedules the trials, Optuna proposes and remembers."""

import os
import warnings

# Before Ray is imported, which reads some of these then.
for name, value in {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative data paths keep their meaning
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without a GPU sees none
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that fails reports no metric
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours ends the search in order, and tells SIGINT from SIGTERM
}.items():
    os.environ.setdefault(name, value)
warnings.filterwarnings("ignore", message="On January 1, 2023, MMCV will release")
