"""Runs that are cut off: truncated checkpoints, killed processes, the place in the data."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest
import torch
from families import FAMILIES, load, write_images
from mmgen_runs import losses, run, small_config

from minmax_plugin.cli.train import main
from minmax_plugin.mmgen.checkpoints import last_intact
from minmax_plugin.openmmlab import is_intact

RANDOM = dict(acceptance=dict(type="random", rate=0.5), estimator="fresh")
ROOT = Path(__file__).parents[2]


def tear(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_last_intact_checkpoint_is_found_past_a_torn_one(tmp_path, recorded, caplog):
    run(small_config(3, RANDOM, checkpoint_config=dict(interval=6)), tmp_path)
    folder = next(tmp_path.glob("**/iter_6.pth")).parent
    shutil.copyfile(folder / "iter_6.pth", folder / "best_fid_iter_6.pth")  # as the toolkit's evaluation does
    assert last_intact(tmp_path) == str(folder / "iter_18.pth")
    tear(folder / "iter_18.pth")
    (folder / "iter_5_backup.pth").write_bytes(b"")
    assert last_intact(tmp_path) == str(folder / "iter_12.pth")
    assert caplog.text.count("is truncated: its run was killed while it was written") == 2
    damaged = bytearray((folder / "iter_6.pth").read_bytes())
    damaged[damaged.index(b"state_dict")] ^= 255  # as in a part that was never written to the disk
    (folder / "iter_6.pth").write_bytes(damaged)
    assert not is_intact(folder / "iter_6.pth")
    assert last_intact(tmp_path / "nowhere") is None


def test_a_torn_checkpoint_that_is_asked_for_is_named(tmp_path, capsys):
    config = str(ROOT / "configs/four_gaussians_minmax.py")
    (tmp_path / "iter_5.pth").write_bytes(b"PK\x03\x04 truncated")
    assert main([config, "--resume-from", str(tmp_path / "iter_5.pth")]) == 2
    assert "is truncated, as a run that is killed leaves it" in capsys.readouterr().err
    assert main([config, "--resume-from", str(tmp_path / "iter_6.pth")]) == 2
    assert "iter_6.pth' does not exist: give a checkpoint (iter_N.pth), or 'auto'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def dcgan(tmp_path_factory):
    data = write_images(tmp_path_factory.mktemp("data"))
    family = next(f for f in FAMILIES if f.name == "DCGAN")

    def config(folder, **overlay):
        overlay = {"train_cfg": dict(disc_steps=2), **overlay}
        cfg = load(family, data, folder, **overlay)
        cfg.data.train.pipeline.insert(1, dict(type="Flip", keys=["real_img"], direction="horizontal"))
        cfg.custom_imports = dict(imports=["minmax_plugin.mmgen"], allow_failed_imports=False)
        for entry in cfg.optimizer.values():
            entry.type = "MinMaxAdam"
        cfg.custom_hooks.append(dict(type="MinMaxHook", **RANDOM))
        return cfg

    return config


@pytest.mark.parametrize("save", [5, 14, 15, 16, 29], ids=lambda n: f"saved at {n}")
def test_resuming_is_exact_within_an_epoch_and_at_its_ends(tmp_path, dcgan, save):
    # 60 images in batches of 4: an epoch is 15 iterations
    def config(name, **more):
        return dcgan(tmp_path / name, **{"total_iters": 32, "checkpoint_config.interval": save, **more})

    whole = run(config("whole"), tmp_path / "whole")
    (path,) = (tmp_path / "whole").glob(f"**/iter_{save}.pth")
    random.seed(99), numpy.random.seed(99)
    resumed = run(config("resumed", resume_from=str(path)), tmp_path / "resumed", seed=77)
    assert losses(resumed) == losses(whole[save:])
    for name in ("reason", "f_new"):
        assert [line.get(name) for line in resumed] == [line.get(name) for line in whole[save:]]


GENERATOR = dict(restore="generator", restore_moments=False, estimator="last")  # as released for four Gaussians


READINGS = [  # before and after, and the first decision of a resume between two cycles and in mid-cycle
    ("last", "paired", "never", "initial"),  # between them, both values are read anew
    ("paired", "last", "initial", "initial"),
    ("fresh", "paired", "never", "never"),
    ("paired", dict(type="paired", batches=2), "never", "never"),
]


@pytest.mark.parametrize(("before", "after", "between", "within"), READINGS)
def test_f_is_read_in_another_way_from_a_resume_on(tmp_path, recorded, before, after, between, within):
    def config(value, **overlay):
        return small_config(3, dict(acceptance="never", estimator=value), total_iters=9, **overlay)

    run(config(before, checkpoint_config=dict(interval=1)), tmp_path / "first")
    for at, first in ((3, between), (4, within)):
        (path,) = (tmp_path / "first").glob(f"**/iter_{at}.pth")
        lines = run(config(after, resume_from=str(path)), tmp_path / f"then {at}")
        assert [line["reason"] for line in lines if line["iter"] in (6, 9)] == [first, "never"]


UNFIT = [
    (dict(restore="both"), {}, "was saved in mid-cycle with {'max_player': False}"),
    (dict(restore_moments=True), {}, "was saved in mid-cycle with {'moments': False}"),
    (dict(recover_nonfinite=True), {}, "was saved in mid-cycle with {'recover_nonfinite': False}"),
    (
        {},
        {"model.generator.hidden": (16, 8)},
        "another model's: generator.layers.2.weight is (8, 16) here, and (16, 16)",
    ),
    ({}, {"model.generator.hidden": (16, 16, 16)}, "is another model's: generator."),
]


@pytest.mark.parametrize(("hook", "overlay", "message"), UNFIT, ids=lambda part: str(part)[:40])
def test_a_checkpoint_that_does_not_fit_is_one_clear_error(tmp_path, recorded, capsys, hook, overlay, message):
    run(small_config(3, GENERATOR, total_iters=4), tmp_path / "first")
    (path,) = (tmp_path / "first").glob("**/iter_4.pth")
    small_config(3, {**GENERATOR, **hook}, **overlay).dump(str(tmp_path / "config.py"))
    config = [str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "then")]
    assert main([*config, "--resume-from", str(path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"minmax-train: error: resume_from='{path}'")
    assert message in error


def test_weights_may_be_averaged_from_a_resume_on(tmp_path, recorded):
    hooks = small_config(3, GENERATOR).custom_hooks[1:]
    run(small_config(3, GENERATOR, **{"custom_hooks": hooks, "train_cfg.use_ema": False}), tmp_path / "first")
    (path,) = (tmp_path / "first").glob("**/iter_18.pth")
    lines = run(small_config(3, GENERATOR, resume_from=str(path), total_iters=20), tmp_path / "then")
    assert [line["iter"] for line in lines] == [19, 20]


def test_a_file_of_weights_alone_is_no_checkpoint_to_resume_from(tmp_path, recorded, capsys):
    small_config(3, GENERATOR).dump(str(tmp_path / "config.py"))
    torch.save(torch.nn.Linear(1, 1).state_dict(), tmp_path / "weights.pth")
    config = [str(tmp_path / "config.py"), "--work-dir", str(tmp_path / "then")]
    assert main([*config, "--resume-from", str(tmp_path / "weights.pth")]) == 2
    assert "holds no training: give it as load_from, to begin with its weights" in capsys.readouterr().err


class Indexed(torch.utils.data.Dataset):
    """Gives each sample its number."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return dict(real_img=torch.full((2,), float(index)))


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
@pytest.mark.parametrize("taken", [1, 3, 5, 7, 12])
def test_the_order_of_samples_is_kept_with_workers_too(workers, persistent, taken):
    from mmgen.core.runners.dynamic_iterbased_runner import IterLoader
    from mmgen.datasets import build_dataloader

    from minmax_plugin.mmgen.run_state import CountingLoader

    def loader(seed):
        torch.manual_seed(seed)
        random_state = torch.get_rng_state()
        data = build_dataloader(Indexed(), 4, workers, dist=False, seed=0, persistent_workers=persistent)
        made = IterLoader(data, None)
        made.__class__ = type("Counting", (CountingLoader, IterLoader), {})
        made.start(random_state, taken=0, drawn=False)
        return made

    def numbers(batch):
        return batch["real_img"][:, 0].tolist()

    first = loader(1)
    for _ in range(taken):
        next(first)
    position, state = first.position(), torch.get_rng_state()
    rest = [numbers(next(first)) for _ in range(9)]
    second = loader(2)
    second.move_to(position)
    torch.set_rng_state(state)
    assert [numbers(next(second)) for _ in range(9)] == rest
    assert second.position()["epoch"] == first.position()["epoch"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_killed_at_random_moments_ends_as_if_it_had_not_been(tmp_path, dcgan, seed):
    draw = random.Random(seed)
    logged = {}
    for name, kills in (("whole", 0), ("killed", 3)):
        cfg = dcgan(tmp_path / name, **{"total_iters": 60, "checkpoint_config.interval": 1, "log_level": "INFO"})
        path = tmp_path / f"{name}.py"
        cfg.dump(str(path))
        command = [sys.executable, "-m", "minmax_plugin.cli.train", str(path), "--resume-from", "auto"]
        for attempt in range(kills + 1):
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL
            )
            if attempt < kills:
                goal = draw.randrange(12 * attempt + 3, 12 * attempt + 14)
                while not list((tmp_path / name).glob(f"**/iter_{goal}.pth")):
                    assert process.poll() is None
                    time.sleep(0.01)
                time.sleep(draw.random() * 0.1)
                process.send_signal(signal.SIGKILL)
            process.wait(timeout=250)
        assert process.returncode == 0
        lines = [p.read_text().splitlines() for p in sorted((tmp_path / name).glob("*.log.json"))]
        logged[name] = {}
        for text in itertools.chain(*lines):
            if text.startswith('{"mode"') and text.endswith("}"):
                line = json.loads(text)
                logged[name][line["iter"]] = {k: v for k, v in line.items() if k.startswith("loss_disc_")}
    assert list(logged["whole"]) == list(range(1, 61))
    assert logged["killed"].keys() == logged["whole"].keys()
    for iteration, line in logged["killed"].items():
        assert line.items() <= logged["whole"][iteration].items(), iteration
