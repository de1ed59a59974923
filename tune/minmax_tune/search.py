"""The actions of the command: begin a search, resume one, run the trials that are left."""

from __future__ import annotations

import difflib
import signal
import sys
import warnings
from datetime import datetime
from pathlib import Path

import optuna
from optuna.trial import TrialState
from ray.tune import Callback

from minmax_plugin.errors import ConfigError
from minmax_plugin.secrets import hide
from minmax_tune.confirmation import Confirmation
from minmax_tune.folders import new_folder
from minmax_tune.options import PROG, Command, Options, flag
from minmax_tune.queue import grid, plan, reconcile, retry_errored, withdraw
from minmax_tune.report.mlflow import MlflowLogger, connect
from minmax_tune.report.progress import Progress
from minmax_tune.report.results import Report
from minmax_tune.searcher import StudySearcher
from minmax_tune.stopping import TIME_BUDGET, SearchStopper, request_stop
from minmax_tune.storage import open_storage
from minmax_tune.study import Search
from minmax_tune.tuner import SIGNALS, only_one, run
from minmax_tune.upgrade import clean
from minmax_tune.validation import check_resources, check_sampler, prepare, read_changed_space

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

CHANGEABLE = ("space", "sampler", "scheduler", "resource", "grace")  # of what is searched and how, on --resume
DRY_RUN_TRIALS = 5  # trials of each study that a dry run shows


def rehearse(request: Command) -> int:
    """Show how a search would begin."""
    options = request.options()
    space, configs = prepare(options)
    rehearsal = Search.rehearse(options, space, configs)
    plan(rehearsal, configs)
    show(rehearsal)
    return 0


def report(request: Command) -> int:
    """Write the results of a search again."""
    record = Search.open(str(request.folder))
    clean(record)
    record.options = request.options(record.options)
    written = Report(record)
    written.finish()
    print(written.closing())
    return 1 if written.failed else 0


def stop_trial(request: Command) -> int:
    """Ask for the end of one trial of a search that runs, here or on another machine."""
    assert request.folder is not None
    assert request.trial is not None
    name = request_stop(Search.open(request.folder), request.trial)
    print(f"{name} ends at its next measurement, and keeps its results so far.")
    return 0


def search(request: Command) -> int:
    """Begin a search."""
    if not request.given.get("configs"):
        print("Demo. balance is 1 where each mode of the data has its share of the samples, and 0 where none has any.")
    options = request.options()
    space, configs = prepare(options)
    check_loggers(options)  # an error now, not when Ray runs
    plan(Search.rehearse(options, space, configs), configs)  # an error now, not when there is a folder
    name = options.name or datetime.now().strftime("search_%Y%m%d_%H%M%S_%f")  # several may begin in one second
    folder = Path(options.storage_path).absolute() / name
    if options.storage:
        open_storage(options.storage, folder)  # an error now, before there is a folder
    new_folder(folder, options)
    with only_one(folder):
        record = Search.create(folder, options, space, configs)
        plan(record, configs)
        try:
            return execute(record)
        except ConfigError:
            record.delete_unbegun()
            raise


def resume(request: Command) -> int:
    """Resume a search that was ended or killed."""
    assert request.folder is not None
    record = Search.open(request.folder)
    before, options = record.options, request.options(record.options)
    check_resources(options)
    check_loggers(options)
    space = read_changed_space(options.space, record) if "space" in request.given else record.space
    check_sampler(options, space)
    if options.sampler == "grid":
        grid(space, options.seed)  # an error now, before anything is withdrawn
    with only_one(record.folder):
        clean(record)
        if space is not record.space:
            record.change_space(space)
        record.update(options, extend=request.extend)
        record.hold()
        try:
            parts = [record, Confirmation(record)] if options.confirm else [record]
            again = sum(map(reconcile, parts))
            errored = sum(map(retry_errored, parts)) if request.retry_errored else 0
            changes = [f"{flag(name)} {value}" for name, value in request.given.items() if name in CHANGEABLE]
            if changes or "kinds" in record.stored():  # one whose space has changed may have been killed just then
                withdrawn = withdraw(record, grid=options.sampler != before.sampler)
                record.log(f"changed: {', '.join(changes) or 'nothing'}; {withdrawn} trials withdrawn from the queue")
            plan(record, record.configs)
            record.log(f"resumed: {again} interrupted and {errored} failed trials again, {request.extend} more a study")
        except Exception:  # nothing ran, so the corrected line must not extend it again
            record.update(before)
            raise
        try:
            return execute(record)
        except ConfigError:  # nothing ran either
            record.update(before)
            raise


def execute(record: Search) -> int:
    """Run the trials that are left of a search, confirm it if asked for, and write its results.

    Returns:
        The exit code: 0, or 1 if a study has no finished trial or the search had to end. 130 after SIGINT, 143 after
        SIGTERM.
    """
    record.hold()
    report = Report(record)
    print(f"Searching {', '.join(record.studies)}: {_left(record)} trials; results in {record.folder}", flush=True)
    stopper = train(record, report)
    if record.options.confirm and stopper.reason in (None, TIME_BUDGET):
        confirmation = Confirmation(record)
        confirmation.plan()
        if left := _left(confirmation):
            print(f"Confirming on {record.options.confirm} fresh seeds: {left} trainings", flush=True)
            stopper = train(confirmation, report)
    report.finish()
    print(report.closing(), flush=True)
    for number, code in SIGNALS.items():
        if stopper.reason == number.name:
            print(f"{PROG}: interrupted; go on with --resume {record.folder}", file=sys.stderr)
            return code
    if stopper.error is not None and stopper.error.exists():
        print(hide(stopper.error.read_text()), file=sys.stderr)
    if stopper.reason not in (None, TIME_BUDGET):
        print(f"{PROG}: error: {stopper.reason}; then --resume {record.folder}", file=sys.stderr)
        return 1
    finished = [study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) for study in record.studies.values()]
    return 0 if all(finished) else 1


def train(record: Search, report: Report) -> SearchStopper:
    """Run the trials that are left of a search, or of its confirmation, and return why they ended."""
    stopper = SearchStopper(record.options.time_budget, record.options.trial_time)
    loggers = make_loggers(record)
    try:
        if _left(record):
            run(record, [Progress(record, report), *loggers], stopper)
    except SystemExit:  # Ray's own answer to SIGTERM, while it starts and while it ends
        stopper.end(signal.SIGTERM.name)
    except BaseException as error:
        stopper.end(f"{type(error).__name__}: {error}")
        record.log(f"ended: {stopper.reason}")
        report.stop()
        report.write()
        raise
    record.log(f"ended: {stopper.reason or 'all trials are done'}")
    return stopper


def check_loggers(options: Options) -> None:
    """Refuse loggers that cannot be used.

    Raises:
        ConfigError: If a package is missing, or there is nothing where it should log to.
    """
    if options.mlflow:
        connect(options.mlflow)
    if options.wandb:
        from minmax_tune.report.wandb import check_wandb  # with W&B, which takes its time

        check_wandb(options.wandb)


def make_loggers(record: Search) -> list[Callback]:
    """Make the loggers beside the search's own record."""
    loggers: list[Callback] = [MlflowLogger(record, record.options.mlflow)] if record.options.mlflow else []
    if record.options.wandb:
        from minmax_tune.report.wandb import WandbLogger

        loggers.append(WandbLogger(record, record.options.wandb))
    return loggers


def _left(record: Search) -> int:
    return sum(record.remaining(name) for name in record.studies)


def show(record: Search) -> None:
    """Print what the first trials of a search would change in their configs."""
    searcher = StudySearcher(record, SearchStopper(None))
    bases = {name: cfg.pretty_text.splitlines() for name, cfg in record.configs.items()}
    shown = dict.fromkeys(record.studies, 0)  # numbers of each study
    for number in range(min(DRY_RUN_TRIALS, record.options.num_samples) * len(record.studies)):
        trial = searcher.suggest(str(number))
        if not isinstance(trial, dict):
            return
        for skipped in range(shown[trial["study"]], trial["number"]):
            print(f"{trial['study']} trial {skipped}: breaks a constraint, so another is drawn")
        shown[trial["study"]] = trial["number"] + 1
        print(f"{trial['study']} trial {trial['number']}: {trial['params'] or 'as it is'}")
        for base in sorted({base for base, _, _ in trial["runs"]}):
            cfg = record.merged(base, trial["settings"])
            changes = difflib.unified_diff(bases[base], cfg.pretty_text.splitlines(), base, base, n=0, lineterm="")
            print("\n".join(f"  {line}" for line in changes if not line.startswith("@@")))
