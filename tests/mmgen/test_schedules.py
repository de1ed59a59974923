"""Schedules of one player."""

import math

import pytest
from mmgen_runs import run, small_config

COSINE = dict(policy="CosineAnnealing", min_lr=0.0)
STEP = dict(policy="step", step=[3], gamma=0.1, warmup="constant", warmup_iters=1, warmup_ratio=0.5)


@pytest.mark.parametrize("hook", [None, {}], ids=["plain", "minmax"])
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (COSINE, [1e-2 * (1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)]),
        (STEP, [5e-3, 1e-2, 1e-2, 1e-3, 1e-3, 1e-3]),
    ],
    ids=["cosine", "step"],
)
def test_a_schedule_moves_its_own_player_only(tmp_path, hook, schedule, expected):
    cfg = small_config(1, hook, total_iters=6)
    cfg.lr_config = dict(policy="OfPlayer", player="generator", schedule=schedule)
    rates = [line["lr"] for line in run(cfg, tmp_path)]
    assert [rate["generator"] for rate in rates] == pytest.approx(expected, abs=1e-5)
    assert [rate["discriminator"] for rate in rates] == [1e-2] * 6


@pytest.mark.parametrize(
    ("lr_config", "message"),
    [
        (dict(player="critic", schedule=COSINE), r"lr_config.player must be one of .*'generator'.* but got 'critic'"),
        (dict(player="generator", schedule=dict(policy="Kosine")), "schedule.policy='Kosine' is none of the toolkit's"),
        (dict(player="generator", schedule=dict(min_lr=0)), "schedule.policy=None is none of the toolkit's"),
    ],
)
def test_what_is_no_schedule_is_refused(tmp_path, lr_config, message):
    cfg = small_config(1)
    cfg.lr_config = dict(policy="OfPlayer", **lr_config)
    with pytest.raises(ValueError, match=message):
        run(cfg, tmp_path)
