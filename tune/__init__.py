"""Hyper-parameter searches over GAN configs: Ray Tune schedules the trials, Optuna proposes and remembers."""
