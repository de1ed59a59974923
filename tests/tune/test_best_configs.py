"""The best configs: which they are, and that they train again as they are."""

import dataclasses
import json
import shlex

import matplotlib.image
import pytest
from optuna.trial import TrialState
from studies import add, new_record

from minmax_plugin.mmgen.config import load_config
from minmax_tune.report.best_configs import write_best
from minmax_tune.report.results import Report
from minmax_tune.report.tables import read_rows, summary
from minmax_tune.study import Search

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")  # Optuna's names for objectives


def test_the_best_is_the_mean_not_the_luckiest_seed(tmp_path):
    record = new_record(tmp_path / "s", seeds=2)
    add(record, values=[0.5], scores=[0.1, 0.9], interval=[-4.5, 5.5], rate=1e-3)
    add(record, values=[0.6], scores=[0.6, 0.6], interval=[0.6, 0.6], rate=2e-3)
    Report(record).write()
    best = json.loads((tmp_path / "s" / "best" / "points" / "params.json").read_text())
    assert (best["trial"], best["seeds"], best["interval"]) == (1, [1, 2], [0.6, 0.6])
    commands = (tmp_path / "s" / "best" / "points" / "command.txt").read_text().splitlines()
    assert [shlex.split(line)[3:5] for line in commands] == [["--seed", "1"], ["--seed", "2"]]


def test_the_best_config_is_the_base_with_the_trials_settings_and_its_checkpoint(tmp_path):
    record = new_record(tmp_path / "s", export_best=2)
    add(record, values=[0.5], baseline=True)
    add(record, values=[0.9], method="gda", rate=1e-3)
    add(record, values=[0.8], method="minmax", rate=2e-3)
    run = record.runs("points", 1)[0].folder
    for name in ("iter_900.pth", "iter_1500.pth"):
        (run / "ckpt" / "x").mkdir(parents=True, exist_ok=True)
        (run / "ckpt" / "x" / name).write_text(name)
    Report(record).write()
    folder = tmp_path / "s" / "best" / "points"
    best, second = load_config(folder / "config.py"), load_config(folder / "2" / "config.py")
    assert best.optimizer.generator.lr == 1e-3
    assert second.optimizer.generator.lr == 2e-3
    assert [h.type for h in best.custom_hooks] == ["SampleMetrics"]
    assert [h.type for h in second.custom_hooks] == ["SampleMetrics", "MinMaxHook"]
    assert (folder / "checkpoint.pth").read_text() == "iter_1500.pth"
    # what someone has trained again is not the trial's
    (run / "again" / "points_seed_1").mkdir(parents=True)
    (run / "again" / "points_seed_1" / "iter_9999.pth").write_text("another's")
    Report(record).write()
    assert (folder / "checkpoint.pth").read_text() == "iter_1500.pth"
    # each row's own command trains the same
    words = shlex.split(read_rows(record)["points"][0].commands[0])
    assert words[:2] == ["OMP_NUM_THREADS=1", "minmax-train"]
    assert load_config(words[2])._cfg_dict == best._cfg_dict
    # a moved search is written anew, with links that still hold
    (tmp_path / "s").rename(tmp_path / "moved")
    Report(Search.open(tmp_path / "moved")).write()
    assert (tmp_path / "moved" / "best" / "points" / "checkpoint.pth").read_text() == "iter_1500.pth"
    assert str(tmp_path / "moved") in (tmp_path / "moved" / "best" / "points" / "command.txt").read_text()


@pytest.mark.parametrize("name", ["points", "config", "apart"])
def test_the_config_of_a_trial_trains_from_its_beginning_whatever_its_base_is_called(tmp_path, name):
    record = new_record(tmp_path / "s", study=name)
    add(record, values=[0.5], rate=1e-3)
    folder = record.runs(name, 0)[0].folder
    folder.mkdir(parents=True)
    for left in ("config.py", "apart.py"):  # the training's own, after a restart
        (folder / left).write_text("resume_from = 'iter_40.pth'\n")
    Report(record).write()
    (command,) = read_rows(record)[name][0].commands
    again = load_config(shlex.split(command)[2])
    assert again.get("resume_from") is None
    assert again.optimizer.generator.lr == 1e-3
    written = (folder / f"{name}.py").stat().st_mtime_ns
    Report(record).write()
    assert (folder / f"{name}.py").stat().st_mtime_ns == written, "once"


def test_nothing_of_the_best_before_stays_beside_a_new_one(tmp_path):
    record = new_record(tmp_path / "s")
    add(record, values=[0.5], method="gda", rate=1e-3)
    run = record.runs("points", 0)[0].folder
    (run / "samples").mkdir(parents=True)
    (run / "iter_900.pth").write_text("weights")
    matplotlib.image.imsave(run / "samples" / "iter_900.png", [[0, 1]])
    best = tmp_path / "s" / "best" / "points"
    Report(record).write()
    assert {"checkpoint.pth", "samples.png"} < {path.name for path in best.iterdir()}
    add(record, values=[0.9], method="gda", rate=2e-3)
    Report(record).write()
    assert {path.name for path in best.iterdir()} == {"config.py", "params.json", "command.txt"}


def test_of_several_objectives_the_front_is_exported_first(tmp_path):
    record = new_record(tmp_path / "s", objectives=("balance:max", "seconds:min"), export_best=3)
    for values in ([0.9, 50.0], [0.8, 60.0], [0.5, 10.0], [0.7, 40.0]):  # the second is worse than the first in both
        add(record, values=values, method="gda", rate=1e-3)
    Report(record).write()
    best = tmp_path / "s" / "best" / "points"
    exported = [json.loads((best / place / "params.json").read_text())["trial"] for place in (".", "2", "3")]
    assert exported == [0, 3, 2]
    assert summary(record, read_rows(record))["studies"]["points"]["pareto_front"] == [0, 3, 2]


def test_fewer_of_the_best_leave_none_of_the_others(tmp_path):
    record = new_record(tmp_path / "s", export_best=4)
    for i in range(4):
        add(record, values=[0.1 * i], method="gda", rate=1e-3)
    Report(record).write()
    best = tmp_path / "s" / "best" / "points"
    (best / "3" / "again").mkdir()
    (best / "3" / "again" / "iter_9.pth").write_text("someone's own")
    record.update(dataclasses.replace(record.options, export_best=2))
    Report(record).write()
    assert {path.name for path in best.iterdir() if path.is_dir()} == {"2", "3"}
    assert [path.name for path in (best / "3").iterdir()] == ["again"]
    assert (best / "2" / "config.py").exists()


def test_on_several_gpus_the_command_shown_has_as_many_processes(tmp_path):
    record = new_record(tmp_path / "s", gpus_per_trial=4)
    add(record, values=[0.5], baseline=True)
    words = shlex.split(read_rows(record)["points"][0].commands[0])
    assert words[1:5] == ["python", "-m", "torch.distributed.run", "--standalone"]
    assert words[5:10] == ["--nproc-per-node=4", "-m", "minmax_plugin.cli.train", "--launcher", "pytorch"]


def test_a_config_of_another_batch_size_is_the_one_that_was_trained(tmp_path):
    record = new_record(tmp_path / "s")
    base = record.configs["points"]
    cfg = record.merged("points", {"data.samples_per_gpu": base.data.samples_per_gpu // 2})
    assert cfg.total_iters == 2 * base.total_iters


def test_each_command_trains_its_data_set_with_its_seed_wherever_the_search_is(tmp_path):
    record = new_record(tmp_path / "a b#c", layout="shared", seeds=2, seed=5, cpus_per_trial=2.0)
    add(record, values=[0.5])
    for run in record.runs("shared", 0):
        run.folder.mkdir(parents=True)
        (run.folder / "iter_9.pth").write_text(f"{run.base} {run.seed}")
    write_best(record, read_rows(record)["shared"])
    best = record.folder / "best" / "shared"
    words = [shlex.split(line) for line in (best / "command.txt").read_text().splitlines()]
    assert [(line[0], line[2], line[4]) for line in words] == [
        ("OMP_NUM_THREADS=2", str(best / f"config_{base}.py"), seed) for seed in "56" for base in ("points", "digits")
    ]
    assert (best / "checkpoint.pth").read_text() == "points 5", "of its first training"


def test_only_the_best_keep_their_checkpoints(tmp_path):
    record = new_record(tmp_path / "s", keep_checkpoints=2)
    report = Report(record)

    def checkpoints():
        return sorted(path.parent.name for path in (tmp_path / "s" / "trials").rglob("iter_9.pth"))

    for i, (value, state) in enumerate([(0.5, "COMPLETE"), (0.9, "COMPLETE"), (0.8, "COMPLETE"), (0.1, "FAIL")]):
        add(record, TrialState[state], values=[value] if state == "COMPLETE" else None, rate=1e-3 * (i + 1))
        folder = record.trial_folder("points", i)
        (folder / "again").mkdir(parents=True)
        (folder / "iter_9.pth").write_text(str(i))
        (folder / "latest.pth").symlink_to("iter_9.pth")
        (folder / "again" / "iter_9.pth").write_text("someone's own")
        report.write()
    again = ["again"] * 4
    assert checkpoints() == [*again, "points_1", "points_2", "points_3"], "one that failed may be resumed"
    assert all(path.exists() for path in (tmp_path / "s").rglob("latest.pth"))
    assert (tmp_path / "s" / "best" / "points" / "checkpoint.pth").read_text() == "1"
