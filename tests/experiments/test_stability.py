"""The maps of stability and the tables of bad steps, at their smallest."""

import json
import math

import pandas
import pytest
import torch

from experiments.stability import bad_steps, maps, pictures, troubles
from experiments.stability.bad_steps import survived, write_bad_steps
from experiments.stability.maps import matched_rate, write_map
from experiments.stability.outcomes import classify
from experiments.stability.remedies import Clip, Restart, Skip
from experiments.stability.rules import Outlier, Rule, Window
from experiments.stability.tasks import TASKS, Batches
from experiments.stability.training import Training, Trouble
from experiments.stability.troubles import TROUBLES
from minmax_plugin import Comparison
from minmax_plugin import Outlier as Policy

CELLS = [(1e-3, 1e-3), (1e-3, 3e-3)]
RING = TASKS["ring8"]


def training(runs=3, trouble=None, remedy=None, rule=None):
    lr = torch.full((runs,), 1e-3)
    more = {name: part for name, part in dict(trouble=trouble, remedy=remedy, rule=rule).items() if part}
    return Training(Batches(RING, runs, 0), lr, lr, **more)


def test_a_tiny_map_runs_from_end_to_end(tmp_path, capsys):
    def write(*methods):
        write_map("ring8", methods, 2, tmp_path, cycles=4, every=2, cells=CELLS)

    with pytest.raises(ValueError, match="random-practical needs the map of practical first"):
        write("random-practical")
    write("gda", "practical", "random-practical")
    frame = pandas.read_csv(tmp_path / "map_ring8.csv")
    assert frame.groupby(["method", "seed"]).size().eq(len(CELLS)).all()
    assert len(frame) == 3 * 2 * len(CELLS)
    assert (frame[frame["method"] == "gda"]["accepted"] == 1).all()
    shares = frame[frame["method"] == "practical"].groupby(["lr_g", "lr_d"])["accepted"].mean()
    assert matched_rate(frame, "practical", CELLS).tolist() == pytest.approx([shares[cell] for cell in CELLS])
    notes = json.loads((tmp_path / "map_ring8.json").read_text())
    assert {(note["method"], note["seed"]) for note in notes} == set(zip(frame["method"], frame["seed"], strict=True))
    assert all(note["commit"] and note["command"] and note["machine"] for note in notes)
    before = (tmp_path / "map_ring8.csv").read_bytes()
    capsys.readouterr()
    write("gda", "practical")  # there already
    assert capsys.readouterr().out == ""
    assert (tmp_path / "map_ring8.csv").read_bytes() == before
    pictures.draw_all(tmp_path, tmp_path)
    table = pictures.map_table(tmp_path, "ring8")
    assert "| GDA | 0/4 (0%–49%)" in table
    assert (tmp_path / "stability_map_ring8.png").stat().st_size > 1000
    assert not (tmp_path / "stability_map_grid25.png").exists()


def test_a_run_of_a_map_is_the_same_again(tmp_path):
    lines = [maps.run("default-r1", RING, 1, None, CELLS, 6, 3) for _ in range(2)]
    assert lines[0] == lines[1]


def test_a_tiny_table_of_bad_steps_runs_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(troubles, "FIRST", 1)
    monkeypatch.setattr(troubles, "RATE", 0.5)
    with pytest.raises(ValueError, match="random needs the line of default first"):
        write_bad_steps(["r1"], ["none"], ["random"], tmp_path, 2, 4)
    remedies = ["none", "default", "random", "clip", "skip-loss", "restart-loss"]
    write_bad_steps(["r1"], ["none", "nan-batch"], remedies, tmp_path, 2, 8)
    frame = pandas.read_csv(tmp_path / "bad_steps.csv")
    assert len(frame) == 2 * len(remedies) * 2
    ends = frame[frame["trouble"] == "nan-batch"].groupby("remedy")["outcome"].agg(set)
    assert ends["none"] == ends["clip"] == {"diverged"}
    assert all("diverged" not in ends[name] for name in ("default", "random", "skip-loss", "restart-loss"))
    undone = frame[(frame["trouble"] == "nan-batch") & (frame["remedy"] == "default")]
    assert (undone["lost"] == undone["hits"]).all()
    assert undone["hits"].gt(0).all()
    assert survived(frame)[frame["trouble"] == "none"].all()
    assert "3 modes" not in pictures.bad_steps_table(tmp_path, "r1")
    pictures.draw_all(tmp_path, tmp_path)
    assert (tmp_path / "stability_bad_steps_r1.png").stat().st_size > 1000
    assert not (tmp_path / "stability_bad_steps_plain.png").exists()


def test_survival_is_measured_by_the_undisturbed_run_of_the_same_seed():
    rows = [("none", "none", 0, 8.0, 0.9), ("none", "none", 1, 6.0, 0.5), ("weight", "clip", 0, 7.2, 0.81)]
    rows += [("weight", "clip", 1, 5.0, 0.5), ("weight", "none", 0, 8.0, 0.8), ("weight", "none", 1, 6.0, 0.45)]
    frame = pandas.DataFrame(rows, columns=["trouble", "remedy", "seed", "modes", "quality"]).assign(losses="r1")
    assert survived(frame).tolist() == [True, True, True, False, False, True]


ON_MODES = RING.centres.T.repeat(1, 25)  # 200 samples
OUTCOMES = [
    (ON_MODES, 8, 1.0, 8, "trained"),
    (ON_MODES * 4, 8, 0.0, 0, "diverged"),
    (torch.full_like(ON_MODES, torch.nan), 0, 0.0, 8, "diverged"),
    (ON_MODES, 6, 0.9, 8, "collapsed"),  # two modes were lost
    (ON_MODES, 6, 0.9, 7, "too slow"),
    (ON_MODES, 4, 0.5, 4, "collapsed"),  # half of the samples on half of the modes
    (ON_MODES, 4, 0.4, 4, "too slow"),
    (ON_MODES * 0.2, 1, 0.0, 1, "collapsed"),  # narrow
]


@pytest.mark.parametrize(("samples", "modes", "quality", "best", "outcome"), OUTCOMES)
def test_a_run_is_classified(samples, modes, quality, best, outcome):
    numbers = (torch.tensor([value]) for value in (modes, quality, best))
    assert classify(RING, samples[None], *numbers) == [outcome]


def test_samples_are_measured_in_modes_and_quality():
    samples = torch.stack([ON_MODES, ON_MODES * 1.2, ON_MODES[:, :1].expand(-1, 200)])
    modes, quality = RING.measure(samples)
    assert modes.tolist() == [8, 0, 1]
    assert quality.tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", [name for name in TROUBLES if name != "none" and "burst" not in name])
def test_trouble_hits_some_runs_in_some_cycles_and_no_others(name, monkeypatch):
    monkeypatch.setattr(troubles, "FIRST", 1)
    monkeypatch.setattr(troubles, "RATE", 0.3)
    clean, hurt = training(8), training(8, TROUBLES[name][1]())
    for _ in range(3):
        clean.cycle()
        hurt.cycle()
    differ = (clean.d.weights != hurt.d.weights).any(1) | (clean.g.weights != hurt.g.weights).any(1)
    assert differ.tolist() == (hurt.trouble.hits > 0).tolist()
    assert 0 < differ.sum() < 8


def test_a_burst_is_50_of_each_500_cycles():
    factors = [TROUBLES["burst-10"][1]().rate(cycle) for cycle in (0, 49, 500, 549, 550, 999, 1000)]
    assert factors == [1, 1, 10, 10, 1, 1, 10]


class Jump(Trouble):
    """One run's discriminator is damaged in one cycle."""

    def inside(self, training):
        if training.cycles == 140:
            training.d.weights[1] *= 30


def test_a_restart_goes_back_to_the_last_checkpoint(monkeypatch):
    monkeypatch.setattr("experiments.stability.remedies.CHECKPOINT", 130)
    stack = training(3, Jump(), Restart(outliers=True))
    at = {}
    for _ in range(141):
        stack.cycle()
        at[stack.cycles] = stack.d.weights.clone()
    assert stack.remedy.lost.tolist() == [0, 10, 0]
    assert torch.equal(stack.d.weights[1], at[131][1])  # the checkpoint of cycle 130, after its ascent
    assert not torch.equal(stack.d.weights[0], at[131][0])


def test_a_step_that_stands_out_is_skipped():
    stack = training(3, Jump(), Skip("loss"))
    for _ in range(142):
        stack.cycle()
    assert stack.remedy.lost[1] >= 0.5
    assert stack.remedy.lost[0] == stack.remedy.lost[2] == 0


def test_clipping_is_torchs():
    gradient = torch.randn(4, 50) * torch.tensor([[0.01], [1.0], [10.0], [100.0]])
    clipped = Clip().gradient(gradient)
    for row, mine in zip(gradient, clipped, strict=True):
        parameter = torch.nn.Parameter(torch.zeros(50))
        parameter.grad = row.clone()
        torch.nn.utils.clip_grad_norm_([parameter], 1.0)
        torch.testing.assert_close(mine, parameter.grad)


def test_the_stacks_rule_for_outliers_is_the_products():
    generator = torch.Generator().manual_seed(0)
    changes = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    changes[torch.rand(300, 2, generator=generator) < 0.05] *= 30
    changes[200:206] = 99.0  # a shift that stays
    settings = dict(threshold=4.0, window=25, warmup=6, retries=3)
    stacked, policy = Outlier(**settings), Policy(**settings)
    old = torch.zeros(2, dtype=torch.float64)
    together = torch.stack([stacked(i, old, old + change, old) for i, change in enumerate(changes)])
    for run in range(2):
        kept, rejections = [], 0
        for i, change in enumerate(changes[:, run].tolist()):
            accepted, _ = policy(Comparison(i, 0.0, change, 0.0, changes=kept[-25:], rejections=rejections))
            kept.append((change, math.nan))
            rejections = 0 if accepted else rejections + 1
            assert accepted == together[i, run]
    assert 0 < (~together).sum() < 60


def test_a_window_without_warm_up_lets_nothing_stand_out_but_what_is_not_finite():
    window = Window(2)
    assert window.stands_out(torch.tensor([1e9, torch.nan])).tolist() == [False, True]


@pytest.mark.parametrize("signal", ["paired", "norm", "default", "last", "gradient"])
def test_every_signal_sees_a_large_jump(signal):
    rule = Rule(Outlier(), signal, track=signal == "last")
    stack = training(3, Jump(), rule=rule)
    for _ in range(141):
        stack.cycle()
    rejected = stack.proposals - stack.accepted
    assert rejected[1] > max(rejected[0], rejected[2])


def test_the_lines_of_the_table_are_all_there():
    assert set(bad_steps.LOSSES) == set(pictures.TITLES)
