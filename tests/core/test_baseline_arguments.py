"""Settings and calls that the baselines refuse, each with one clear error."""

import pytest
import torch
from games import Point

from minmax_plugin.baselines import build_baseline
from minmax_plugin.baselines.optimizers import ExtraAdam, OptimisticAdam
from minmax_plugin.baselines.tiada import TiAda


def test_a_loss_that_knows_one_player_alone_is_refused_by_lead():
    play = build("lead")  # min_loss is x, max_loss is y
    play()
    with pytest.raises(ValueError, match="max_loss must depend on both players for LEAD: do not detach"):
        play()


def test_tiada_needs_an_exponent_or_an_opponent():
    p = torch.nn.Parameter(torch.ones(1))
    p.grad = torch.ones(1)
    with pytest.raises(RuntimeError, match="TiAda has neither an exponent nor an opponent: call couple"):
        TiAda([p]).step()


def build(name, kind=torch.optim.Adam, module_has_parameters=True, arguments=None, **settings):
    x, y = Point([1.0]), Point([1.0])
    if "module" in settings:
        settings["module"] = y if module_has_parameters else x
    optimizers = [kind(p.parameters(), lr=0.1, **(arguments or {})) for p in (x, y)]
    return build_baseline(name, *optimizers, lambda: x.p.sum(), lambda: y.p.sum(), **settings)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: OptimisticAdam([torch.ones(1)], lr=-1.0), "lr must be 0 or more and finite, but got -1.0."),
        (
            lambda: ExtraAdam([torch.ones(1)], betas=(0.9, 1.0)),
            r"betas must be two numbers of 0 or more and below 1, but got \(0.9, 1.0\).",
        ),
        (lambda: ExtraAdam([torch.ones(1)], eps=0.0), "eps must be above 0, but got 0.0."),
        (lambda: build("lookahead", period=0), "period must be a whole number of 1 or more, but got 0."),
        (lambda: build("lookahead", alpha=1.5), "alpha must be above 0 and up to 1, but got 1.5."),
        (lambda: build("gda-alternating", k=0), "k must be a whole number of 1 or more, but got 0."),
        (lambda: build("gda"), r"name must be one of \['extragradient', .*\], but got 'gda'."),
        (lambda: build("omd", OptimisticAdam, k=2), r"baseline 'omd' takes \[\], but got \['k'\]."),
        (lambda: build("unrolled"), "baseline 'unrolled' needs module, the max player's, but got none."),
        (lambda: build("omd"), "min_optimizer must be of type 'OptimisticAdam', but got 'Adam'."),
        (lambda: build("tiada"), "min_optimizer must be of type 'TiAda', but got 'Adam'."),
        (
            lambda: build("tiada", TiAda, arguments={"exponent": 0.5}),
            "the min player's exponent must be above the max player's, but got 0.5 and 0.5.",
        ),
        (lambda: TiAda([torch.ones(1)], exponent=1.0), "exponent must be above 0 and below 1, but got 1.0."),
        (lambda: TiAda([torch.ones(1)], v0=0.0), "v0 must be above 0 and finite, but got 0.0."),
        (lambda: build("lead", alpha=-1.0), "alpha must be 0 or more and finite, but got -1.0."),
        (lambda: build("extragradient"), "min_optimizer must be of type 'ExtraAdam', but got 'Adam'."),
        (
            lambda: build("unrolled", torch.optim.RMSprop, module=...),
            "max_optimizer must be of type 'Adam' or 'SGD', but got 'RMSprop'.",
        ),
        (
            lambda: build("unrolled", module=..., arguments={"weight_decay": 0.1}),
            "max_optimizer must have weight_decay 0 to be unrolled, but got 0.1.",
        ),
        (
            lambda: build("unrolled", module=..., arguments={"amsgrad": True}),
            "max_optimizer must have amsgrad 0 to be unrolled, but got True.",
        ),
        (
            lambda: build("unrolled", module=..., module_has_parameters=False),
            "module must hold the parameters of max_optimizer, but lacks 1 of them.",
        ),
    ],
)
def test_a_bad_setting_is_named(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


def test_extrapolations_and_steps_take_turns():
    p = torch.nn.Parameter(torch.ones(1))
    p.grad = torch.ones(1)
    optimizer = ExtraAdam([p])
    with pytest.raises(RuntimeError, match=r"there is no extrapolation to step from: call extrapolate\(\)"):
        optimizer.step()
    optimizer.extrapolate()
    with pytest.raises(RuntimeError, match=r"the last extrapolation is still open: call step\(\)"):
        optimizer.extrapolate()
