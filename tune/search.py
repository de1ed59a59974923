"""Search hyper-parameters of GAN configs in parallel: ``python tune/search.py [CONFIG ...]``."""

from __future__ import annotations

import difflib
import errno
import signal
import sys
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # `python tune/search.py` puts tune/ itself there
    sys.path.insert(0, str(ROOT))

import tune  # noqa: F401, E402, I001  it prepares what Ray reads when it is imported
import optuna  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

from minmax_plugin.errors import ConfigError, SpaceError  # noqa: E402
from minmax_plugin.secrets import hide, show_traceback  # noqa: E402
from tune.earlier import clean  # noqa: E402
from tune.engine import SIGNALS, only_one, run  # noqa: E402
from tune.mlflow_logger import MlflowLogger, connect  # noqa: E402
from tune.options import Request, parse  # noqa: E402
from tune.plan import plan, reconcile, retry_errored  # noqa: E402
from tune.prepare import check_resources, prepare  # noqa: E402
from tune.progress import Progress  # noqa: E402
from tune.record import SearchRecord, new_folder  # noqa: E402
from tune.report import Report  # noqa: E402
from tune.searcher import TIME_BUDGET, Ending, StudySearcher  # noqa: E402
from tune.storage import open_storage  # noqa: E402

SHOWN = 5  # trials of each study that a dry run shows


def search(request: Request, dry_run: bool = False) -> int:
    """Begin a search, or show how it would begin."""
    options = request.options()
    space, configs = prepare(options)
    if options.mlflow:
        connect(options.mlflow)  # an error now, not when Ray runs
    rehearsal = SearchRecord.rehearse(options, space, configs)
    plan(rehearsal, configs)
    if dry_run:
        show(rehearsal)
        return 0
    name = options.name or datetime.now().strftime("search_%Y%m%d_%H%M%S_%f")  # several may begin in one second
    folder = Path(options.storage_path).absolute() / name
    if options.storage:
        open_storage(options.storage, folder)  # an error now, before there is a folder
    new_folder(folder, options)
    with only_one(folder):
        record = SearchRecord.create(folder, options, space, configs)
        plan(record, configs)
        return execute(record)


def resume(request: Request) -> int:
    """Go on with a search that was ended or killed."""
    assert request.folder is not None
    record = SearchRecord.open(request.folder)
    options = request.options(record.options)
    check_resources(options)
    if options.mlflow:
        connect(options.mlflow)
    with only_one(record.folder):
        clean(record)
        record.update(options, extend=request.extend)
        try:
            again = reconcile(record)
            errored = retry_errored(record) if request.retry_errored else 0
            plan(record, record.configs)
            record.log(f"resumed: {again} interrupted and {errored} failed trials again, {request.extend} more a study")
            return execute(record)
        except ConfigError:  # nothing ran, so that the same line, mended, shall not extend it once more
            record.update(record.options, extend=-request.extend)
            raise


def execute(record: SearchRecord) -> int:
    """Run what is left of a search, and write its results.

    Returns:
        0; 1 if a study has no finished trial or the search had to end; 130 after SIGINT, 143 after SIGTERM.
    """
    report, ending = Report(record), Ending(record.options.time_budget)
    loggers = [MlflowLogger(record, record.options.mlflow)] if record.options.mlflow else []
    left = sum(record.remaining(name) for name in record.studies)
    print(f"Searching {', '.join(record.studies)}: {left} trials; results in {record.folder}", flush=True)
    try:
        if left:
            run(record, [Progress(record, report), *loggers], ending)
    except SystemExit:  # Ray's own answer to SIGTERM, while it starts and while it ends
        ending.end(signal.SIGTERM.name)
    except BaseException as error:
        ending.end(f"{type(error).__name__}: {error}")
        raise
    finally:
        record.log(f"ended: {ending.reason or 'all trials are done'}")
        report.write()
    report.finish()
    print(report.closing(), flush=True)
    for number, code in SIGNALS.items():
        if ending.reason == number.name:
            print(f"tune/search.py: interrupted; go on with --resume {record.folder}", file=sys.stderr)
            return code
    if ending.error is not None and ending.error.exists():
        print(hide(ending.error.read_text()), file=sys.stderr)
    if ending.reason not in (None, TIME_BUDGET):
        print(f"tune/search.py: error: {ending.reason}; then --resume {record.folder}", file=sys.stderr)
        return 1
    finished = [study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) for study in record.studies.values()]
    return 0 if all(finished) else 1


def show(record: SearchRecord) -> None:
    """Print what the first trials of a search would change in their configs."""
    searcher = StudySearcher(record, Ending(None))
    bases = {name: cfg.pretty_text.splitlines() for name, cfg in record.configs.items()}
    for number in range(min(SHOWN, record.options.num_samples) * len(record.studies)):
        trial = searcher.suggest(str(number))
        if not isinstance(trial, dict):
            return
        print(f"{trial['study']} trial {trial['number']}: {trial['params'] or 'as it is'}")
        for base in sorted({base for base, _, _ in trial["runs"]}):
            cfg = record.merged(base, trial["settings"])
            changes = difflib.unified_diff(bases[base], cfg.pretty_text.splitlines(), base, base, n=0, lineterm="")
            print("\n".join(f"  {line}" for line in changes if not line.startswith("@@")))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code, 2 for an input that is wrong."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        request = parse(argv)
        match request.action:
            case "resume":
                return resume(request)
            case "report":
                record = SearchRecord.open(str(request.folder))
                clean(record)
                record.options = request.options(record.options)
                report = Report(record)
                report.finish()
                print(report.closing())
                return 0
        return search(request, dry_run=request.action == "dry-run")
    except (ConfigError, SpaceError, FileNotFoundError) as error:
        print(f"tune/search.py: error: {hide(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"tune/search.py: error: the disk is full ({error}): make room, then --resume", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.excepthook = show_traceback
    sys.exit(main())
