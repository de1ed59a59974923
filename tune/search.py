"""Search hyper-parameters of GAN configs in parallel: ``python tune/search.py [CONFIG ...]``."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # `python tune/search.py` puts tune/ itself there
    sys.path.insert(0, str(ROOT))

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # the local cluster listens on this machine alone
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # relative data paths keep their meaning
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
warnings.filterwarnings("ignore", message="On January 1, 2023, MMCV will release")

import optuna  # noqa: E402
import ray  # noqa: E402
import torch  # noqa: E402
from mmcv import Config  # noqa: E402
from ray import tune as ray_tune  # noqa: E402

from minmax_plugin.mmgen.check import ConfigError, check_config, read_data  # noqa: E402
from minmax_plugin.mmgen.train import load_config  # noqa: E402
from tune.options import Options, parse  # noqa: E402
from tune.record import TRIALS, SearchRecord, trial_folder  # noqa: E402
from tune.report import Report  # noqa: E402
from tune.searcher import StudySearcher  # noqa: E402
from tune.space import Space, SpaceError  # noqa: E402
from tune.trial import run_trial  # noqa: E402

SAMPLERS: dict[str, Any] = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}


def prepare(args: Options) -> tuple[Space, dict[str, Config]]:
    """Read and check everything before anything starts.

    Returns:
        The space, and the base config of each study by the study's name.

    Raises:
        SpaceError, ConfigError: for the first thing that is wrong.
    """
    if args.cpus_per_trial > (os.cpu_count() or 1):
        raise ConfigError(
            f"--cpus-per-trial={args.cpus_per_trial} does not fit this machine, which has {os.cpu_count()} cores."
        )
    if args.gpus_per_trial > torch.cuda.device_count():
        raise ConfigError(
            f"--gpus-per-trial={args.gpus_per_trial} does not fit this machine, which has {torch.cuda.device_count()}."
        )
    space = Space.read(args.space)
    configs: dict[str, Config] = {}
    for path in args.configs:
        for dataset in args.datasets or [None]:
            cfg, name = load_config(path), Path(path).stem
            if dataset is not None:
                lay_dataset(cfg, load_config(dataset))
                name += f"-{Path(dataset).stem}"
            if name in configs:
                raise ConfigError(f"two studies would be named {name!r}: rename one of the files.")
            configs[name] = cfg
    for name, cfg in configs.items():
        try:
            check_config(cfg)
            read_data(cfg)
        except ConfigError as error:
            raise ConfigError(f"config {name}: {error}") from error
        space.check(cfg, name)
    return space, configs


def lay_dataset(cfg: Config, dataset: Config) -> None:
    """Give a config another data set, in place.

    Each part of ``data`` that ``dataset`` has is replaced, not merged: nothing of the old one stays behind.
    The config's ``metrics_hook``, which measures its data set, is replaced in ``custom_hooks`` too.
    """
    old = cfg.get("metrics_hook")
    for key, value in dataset._cfg_dict.items():
        if key == "data":
            for part, settings in value.items():  # not update(), which merges
                cfg.data[part] = settings
        else:
            cfg[key] = value
    if "metrics_hook" in dataset:
        cfg.custom_hooks = [dataset.metrics_hook if h == old else h for h in cfg.get("custom_hooks") or []]


def folder_of(trial: Any) -> Path:
    """Where a trial of Ray's keeps its files."""
    return trial_folder(Path(trial.config["folder"]), trial.config["study"], trial.config["number"])


class Progress(ray_tune.Callback):
    """Says on the terminal how the search goes, and rewrites the results after each trial.

    Args:
        record: the search.
        report: its results.
    """

    def __init__(self, record: SearchRecord, report: Report) -> None:
        self._report, self._metric = report, record.objectives[0][0]
        self._total = sum(record.remaining(name) for name in record.studies)
        self._start = time.monotonic()
        self._done = 0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._say(trial, "starts: " + (", ".join(f"{k}={v}" for k, v in trial.config["params"].items()) or "as it is"))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        self._say(trial, f"iteration {result['iterations']}: {self._metric} {result[self._metric]:.4f}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._finish(trial, "done")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._finish(trial, f"failed, see {folder_of(trial) / 'error.txt'}")

    def _finish(self, trial: Any, how: str) -> None:
        self._done += 1
        self._report.write()
        left = (time.monotonic() - self._start) / self._done * (self._total - self._done)
        self._say(trial, f"{how}; about {left / 60:.0f} min left" if self._done < self._total else how)

    def _say(self, trial: Any, what: str) -> None:
        study, number = trial.config["study"], trial.config["number"]
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        print(f"[{self._done}/{self._total}] {minutes:02d}:{seconds:02d} {study} trial {number}: {what}", flush=True)


def search(args: Options) -> bool:
    """Run the search that the arguments describe.

    Returns:
        Whether every study has a trial that finished.

    Raises:
        SpaceError, ConfigError: before Ray starts, if an input is wrong.
    """
    space, configs = prepare(args)
    folder = Path(args.storage_path).absolute() / (args.name or time.strftime("search_%Y%m%d_%H%M%S"))
    record = SearchRecord.create(folder, args, space, configs)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies = record.studies
    for number, study in enumerate(studies.values()):
        study.sampler = SAMPLERS[args.sampler](seed=args.seed + number)
    metric, mode = record.objectives[0]
    report = Report(record)
    searcher = StudySearcher(studies, space, metric, mode, args.num_samples)
    total = args.num_samples * len(studies)
    print(f"Searching {', '.join(studies)}: {total} trials; results in {folder}", flush=True)
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}},
    )
    try:
        tuner = ray_tune.Tuner(
            ray_tune.with_resources(run_trial, {"cpu": args.cpus_per_trial, "gpu": args.gpus_per_trial}),
            param_space={
                "folder": str(folder),
                "bases": record.bases,
                "metric": metric,
                "seed": args.seed,
                "cpus": args.cpus_per_trial,
            },
            tune_config=ray_tune.TuneConfig(
                search_alg=searcher,
                num_samples=total,
                max_concurrent_trials=args.max_concurrent,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: folder_of(trial).name,
            ),
            run_config=ray_tune.RunConfig(
                name=TRIALS,
                storage_path=str(folder),
                callbacks=[Progress(record, report)],
                verbose=0,
            ),
        )
        tuner.fit()
    finally:
        ray.shutdown()
        searcher.close("interrupted")  # nothing else ends a search before its trials
        report.write()
    report.finish()
    print(f"\n{report.leaderboard()}\n")
    for name in studies:
        if (folder / "best" / name / "config.py").exists():
            print(f"best of {name}: {(folder / 'best' / name / 'command.txt').read_text().strip()}")
    if (folder / "samples.png").exists():
        print(f"samples of the best: {folder / 'samples.png'}")
    print(f"all results: {folder}")
    return all((folder / "best" / name).exists() for name in studies)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code: 1 if a study has no finished trial, 2 for an input that is wrong."""
    try:
        return 0 if search(parse(argv).options()) else 1
    except (ConfigError, SpaceError, FileNotFoundError) as error:
        print(f"tune/search.py: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
