"""The hook in MMEngine's own loop: what it trains, what other hooks see, what resumes."""

import json
import re
from pathlib import Path

import pytest
import torch
from exact import assert_identical
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from mmengine_runs import PlainGAN, checkpoint, config, decisions, train

# MMEngine's, for a generator that is not stepped in the first iteration
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step.*:UserWarning")

ALWAYS = dict(acceptance="always")
HALF = dict(acceptance=dict(type="random", rate=0.5))

RUNS = {  # the model, and the wrappers of both players
    "one step": ({}, {}),
    "three steps": (dict(discriminator_steps=3), {}),
    "accumulated": (dict(discriminator_steps=2), dict(accumulative_counts=2)),
    "several generator steps": (dict(discriminator_steps=2, generator_steps=3), {}),
    "several accumulated": (dict(generator_steps=2), dict(accumulative_counts=3)),
    "penalty": (dict(penalty=1.0), {}),
    "clipped": (dict(discriminator_steps=2), dict(clip_grad=dict(max_norm=0.1))),
    "by hand": (dict(type="ByHand", discriminator_steps=2), {}),
    "mixed precision": (dict(discriminator_steps=2), dict(type="CpuAmp")),
    "mixed precision, clipped": ({}, dict(type="CpuAmp", clip_grad=dict(max_norm=0.1))),
    "fused": ({}, dict(type="CpuAmp", optimizer=dict(type="Adam", lr=1e-2, fused=True))),
    "momentum": (dict(discriminator_steps=3), dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9))),
}
EACH_RUN = pytest.mark.parametrize("name", RUNS)


def of(name, hook, **settings):
    model, wrapper = RUNS[name]
    cfg = config(hook, model, **settings)
    for player in ("generator", "discriminator"):
        cfg["optim_wrapper"][player].update(wrapper)
    return cfg


@pytest.fixture
def record(request, record_property):
    """Records facts for the table in the docs, in the row of the run that is tested."""
    name = request.node.callspec.params["name"]
    record_property("row", list(RUNS).index(name))
    record_property("family", f"a plain GAN: {name}")
    return record_property


@EACH_RUN
def test_always_is_the_plain_run_to_the_last_bit(tmp_path, name, record):
    _, plain = train(of(name, None), tmp_path / "plain")
    runner, ours = train(of(name, ALWAYS), tmp_path / "ours")
    assert ours.losses == plain.losses
    assert len(plain.losses) == 18
    assert runner.hooks[0].game.accepted > 1
    record("opts in", "yes")
    record("trains", "yes")
    record("always is stock", "yes")
    record("note", "")


@pytest.mark.parametrize("estimator", ["last", "fresh"])
@pytest.mark.parametrize("k", [2, 3])
def test_always_is_the_plain_run_with_each_estimator(tmp_path, k, estimator):
    model = dict(discriminator_steps=k)
    _, plain = train(config(None, model), tmp_path / "plain")
    _, ours = train(config(dict(ALWAYS, estimator=estimator, record=True), model), tmp_path / "ours")
    assert ours.losses == plain.losses
    if estimator == "last":  # the discriminator's own losses in the last step of each cycle
        values = [-(line["loss_disc_fake"] + line["loss_disc_real"]) for line in ours.losses[k - 1 :: k]]
        assert [decision["f_new"] for decision in decisions(tmp_path / "ours")] == pytest.approx(values, abs=1e-6)


def test_wrappers_that_are_built_already_need_no_constructor(tmp_path):
    def built(hook):
        torch.manual_seed(0)
        model = PlainGAN()
        players = ("generator", "discriminator")
        wrappers = {n: OptimWrapper(torch.optim.Adam(getattr(model, n).parameters(), lr=1e-2)) for n in players}
        return config(hook) | dict(model=model, optim_wrapper=OptimWrapperDict(**wrappers))

    _, plain = train(built(None), tmp_path / "plain")
    _, ours = train(built(ALWAYS), tmp_path / "ours")
    assert ours.losses == plain.losses


@pytest.mark.parametrize("restore", ["both", "generator"])
@EACH_RUN
def test_checkpoints_and_hooks_only_see_incumbents(tmp_path, name, restore, record):
    cfg = of(name, dict(acceptance="never", restore=restore), interval=1)
    _, witness = train(cfg, tmp_path, look="generator")
    first = checkpoint(tmp_path, 1)["state_dict"]
    weights = {n: v for n, v in first.items() if n.startswith("generator.") and not is_statistic(n)}
    assert weights
    for seen in witness.seen:
        assert_identical({n: seen[n.removeprefix("generator.")] for n in weights}, weights)
    for iteration in range(1, 19):
        state = checkpoint(tmp_path, iteration)["state_dict"]
        assert_identical({n: state[n] for n in weights}, weights)
        # the average that train_step makes, of incumbents alone
        averages = {n.replace("generator.", "generator_ema.module."): v for n, v in weights.items()}
        assert all(torch.equal(state[n], v) for n, v in averages.items())
    record("averages see", "incumbents")


def is_statistic(name):
    return "running" in name or "num_batches" in name


def test_showing_the_incumbent_does_not_disturb_the_training(tmp_path):
    model = dict(discriminator_steps=3)
    _, often = train(config(HALF, model, iterations=36, interval=1), tmp_path / "often")
    runner, seldom = train(config(HALF, model, iterations=36), tmp_path / "seldom")
    assert often.losses == seldom.losses
    game = runner.hooks[0].game
    assert 0 < game.accepted < game.proposals


@pytest.mark.parametrize("name", ["one step", "three steps", "several generator steps"])
def test_the_average_within_train_step_is_of_incumbents(tmp_path, name):
    cfg = of(name, HALF, iterations=24, interval=1)
    train(cfg, tmp_path)
    k = RUNS[name][0].get("discriminator_steps", 1)
    average = None
    for iteration in range(k, 25, k):  # at the end of each cycle
        state = checkpoint(tmp_path, iteration)["state_dict"]
        incumbent = state["generator.0.weight"]
        average = incumbent if average is None else average * 0.9 + incumbent * 0.1
        torch.testing.assert_close(state["generator_ema.module.0.weight"], average, rtol=1e-5, atol=1e-7)
    assert not torch.equal(average, incumbent)


def test_mmengines_own_average_and_its_validation_see_incumbents(tmp_path):
    seen = []

    @HOOKS.register_module(force=True)
    class Onlooker(Hook):
        reads_weights = False  # so that the validation alone asks for the incumbent
        priority = "LOWEST"

        def before_val_epoch(self, runner):
            seen.append(runner.model.generator[0].weight.detach().clone())

    loader = config()["train_dataloader"] | dict(sampler=dict(type="DefaultSampler", shuffle=False))
    validation = dict(val_dataloader=loader, val_cfg=dict(), val_evaluator=[])
    hooks = [dict(type="EMAHook"), dict(type="Onlooker")]
    cfg = config(dict(acceptance="never"), dict(discriminator_steps=3), hooks=hooks, interval=9, **validation)
    cfg["train_cfg"]["val_interval"] = 4
    runner, _ = train(cfg, tmp_path)
    start = checkpoint(tmp_path, 9)["ema_state_dict"]["module.generator.0.weight"]
    assert torch.equal(start, runner.model.generator[0].weight)  # "never": the initial weights
    assert len(seen) == 5
    assert all(torch.equal(weights, start) for weights in seen)


@pytest.mark.parametrize("at", [5, 8])
@EACH_RUN
def test_a_resumed_run_continues_to_the_last_bit(tmp_path, name, at, record):
    hook = dict(acceptance=dict(type="constant", rate=0.3), record=True)
    whole, losses = train(of(name, hook, interval=at), tmp_path / "whole")
    before = checkpoint(tmp_path / "whole", at)["minmax"]["game"]["decisions"]
    path = tmp_path / "whole" / f"iter_{at}.pth"
    resumed, again = train(of(name, hook, interval=at), tmp_path / "resumed", resume=path)
    assert again.losses == losses.losses[at:]
    assert decisions(tmp_path / "resumed") == decisions(tmp_path / "whole")[before:]
    ends = [checkpoint(tmp_path / run, 18) for run in ("whole", "resumed")]
    for part in ("state_dict", "optimizer", "minmax", "param_schedulers"):
        assert_identical(*(end[part] for end in ends))
    assert resumed.hooks[0].game.decisions == whole.hooks[0].game.decisions
    record("resumes", "to the last bit")


@pytest.mark.parametrize("estimator", ["last", "fresh", dict(type="paired", hold=1)])
def test_a_run_with_each_estimator_resumes(tmp_path, estimator):
    hook = dict(acceptance=dict(type="constant", rate=0.3), estimator=estimator)
    _, whole = train(config(hook, dict(discriminator_steps=3), interval=7), tmp_path / "whole")
    path = tmp_path / "whole" / "iter_7.pth"
    _, resumed = train(config(hook, dict(discriminator_steps=3)), tmp_path / "resumed", resume=path)
    assert resumed.losses == whole.losses[7:]


@pytest.mark.parametrize("at", [4, 6])
def test_a_run_resumes_whose_validation_draws_noise(tmp_path, at):
    loader = config()["train_dataloader"] | dict(sampler=dict(type="DefaultSampler", shuffle=False))
    validation = dict(val_dataloader=loader, val_cfg=dict(), val_evaluator=[])
    cfg = config(HALF, dict(discriminator_steps=3), interval=at, **validation)
    cfg["train_cfg"]["val_interval"] = 4
    _, whole = train(cfg, tmp_path / "whole")
    _, resumed = train(cfg, tmp_path / "resumed", resume=tmp_path / "whole" / f"iter_{at}.pth")
    assert resumed.losses == whole.losses[at:]


def test_a_run_by_epochs_is_driven_and_resumes(tmp_path):
    def by_epochs(hook):
        cfg = config(hook)
        cfg["train_cfg"] = dict(type="EpochBasedTrainLoop", max_epochs=4)
        cfg["train_dataloader"]["sampler"] = dict(type="DefaultSampler", shuffle=True)
        cfg["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", interval=1)
        return cfg

    _, plain = train(by_epochs(None), tmp_path / "plain")
    _, always = train(by_epochs(ALWAYS), tmp_path / "always")
    assert always.losses == plain.losses
    _, whole = train(by_epochs(HALF), tmp_path / "whole")
    _, resumed = train(by_epochs(HALF), tmp_path / "resumed", resume=tmp_path / "whole" / "epoch_2.pth")
    assert resumed.losses == whole.losses[14:]


def test_weights_that_are_loaded_begin_another_run(tmp_path):
    hook = dict(HALF, record=True)
    train(config(hook), tmp_path / "first")
    cfg = config(hook) | dict(load_from=str(tmp_path / "first" / "iter_18.pth"))
    runner = train_from(cfg, tmp_path / "second")
    assert [decision["index"] for decision in decisions(tmp_path / "second")] == list(range(18))
    assert runner.hooks[0].game.decisions == 18


def train_from(cfg, folder):
    runner = Runner(**cfg, work_dir=str(folder), experiment_name=str(folder))
    runner.train()
    return runner


def test_runs_with_and_without_the_hook_continue_each_other(tmp_path):
    train(config(None, interval=9), tmp_path / "plain")
    train(config(HALF, interval=9), tmp_path / "ours")
    runner, ours = train(config(HALF), tmp_path / "from plain", resume=tmp_path / "plain" / "iter_9.pth")
    assert len(ours.losses) == runner.hooks[0].game.decisions == 9
    (log,) = (tmp_path / "from plain").glob("*/*.log")
    assert "the checkpoint holds no state of MinMax" in log.read_text()
    _, plain = train(config(None), tmp_path / "from ours", resume=tmp_path / "ours" / "iter_9.pth")
    assert len(plain.losses) == 9


def test_a_run_that_only_tests_needs_no_training(tmp_path):
    loader = config()["train_dataloader"] | dict(sampler=dict(type="DefaultSampler", shuffle=False))
    settings = dict(test_dataloader=loader, test_cfg=dict(), test_evaluator=[])
    runner, _ = train(config(HALF) | settings, tmp_path / "after")
    assert runner.test() == {}
    alone = config(HALF) | settings | dict(train_dataloader=None, train_cfg=None, optim_wrapper=None)
    runner = Runner(**alone | dict(param_scheduler=None), work_dir=str(tmp_path), experiment_name="alone")
    assert runner.test() == {}


def test_the_opt_in_lines_of_the_docs_opt_a_config_in(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "mmengine.md").read_text()
    lines = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    assert len(lines.splitlines()) <= 5
    Config(config()).dump(str(tmp_path / "base.py"))
    (tmp_path / "mine.py").write_text(lines.replace("your_config.py", str(tmp_path / "base.py")))
    cfg = Config.fromfile(str(tmp_path / "mine.py"))
    runner = Runner.from_cfg(cfg.merge_from_dict(dict(work_dir=str(tmp_path), experiment_name="mine")) or cfg)
    runner.train()
    assert runner.hooks[0].game.decisions == 18


def test_decisions_are_in_the_message_hub_and_the_log(tmp_path):
    runner, _ = train(config(HALF, dict(discriminator_steps=2)), tmp_path)
    names = ("acceptance", "f_new", "f_old", "f_change", "rejections", "cycle")
    assert {f"train/{name}" for name in names} <= set(runner.message_hub.log_scalars)
    (file,) = tmp_path.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert set(names) <= set(lines[-1])
    assert [line["cycle"] for line in lines[1:]] == [n // 2 for n in range(2, 19)]
    assert {line["acceptance"] for line in lines[1:]} == {0.0, 1.0}


def test_patience_ends_the_training_with_a_checkpoint(tmp_path):
    hook = dict(acceptance="never", patience=2)
    _, witness = train(config(hook, dict(discriminator_steps=3)), tmp_path / "first")
    assert len(witness.losses) == 12  # 3 steps set f_old, then three cycles are rejected
    path = tmp_path / "first" / "iter_12.pth"
    _, again = train(config(hook, dict(discriminator_steps=3)), tmp_path / "again", resume=path)
    assert again.losses == []
    longer = dict(hook, patience=4)
    _, on = train(config(longer, dict(discriminator_steps=3)), tmp_path / "longer", resume=path)
    assert len(on.losses) == 6  # to the rejection that is one too many


def test_a_step_that_overflows_is_no_proposal(tmp_path):
    @HOOKS.register_module(force=True)
    class Overflow(Hook):
        reads_weights = False

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if batch_idx in (3, 4):
                runner.optim_wrapper["generator"].loss_scaler.update(float("inf") if batch_idx == 3 else 1024.0)

    cfg = of("mixed precision", dict(acceptance="never", record=True), iterations=7, hooks=[dict(type="Overflow")])
    cfg["model"]["discriminator_steps"] = 1
    train(cfg, tmp_path)
    reasons = [decision["reason"] for decision in decisions(tmp_path)]
    assert reasons == ["initial", "never", "never", "never", "no proposal", "never", "never"]


@pytest.mark.parametrize("recover", [False, True])
def test_a_step_to_infinity_is_undone(tmp_path, recover):
    @HOOKS.register_module(force=True)
    class Breaks(Hook):
        reads_weights = False

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            for group in runner.optim_wrapper["discriminator"].param_groups:
                group["lr"] = 1e38 if batch_idx == 6 else 1e-3

    hook = dict(restore="generator", recover_nonfinite=recover, record=True)
    cfg = config(hook, dict(discriminator_steps=3), hooks=[dict(type="Breaks")], param_scheduler=None)
    if not recover:
        with pytest.raises(FloatingPointError, match="Use recover_nonfinite=True"):
            train(cfg, tmp_path)
        return
    runner, _ = train(cfg, tmp_path)
    assert [decision["reason"] for decision in decisions(tmp_path)][2] == "non-finite"
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


def test_the_ascent_stops_at_its_tolerance(tmp_path):
    model = dict(discriminator_steps=3)
    _, plain = train(config(None, model), tmp_path / "plain")
    _, small = train(config(dict(ALWAYS, ascent_tolerance=1e-12), model), tmp_path / "small")
    assert small.losses == plain.losses
    runner, _ = train(config(dict(ALWAYS, ascent_tolerance=1e9), model), tmp_path / "large")
    assert runner.hooks[0].counts["disc_steps"] == 0
    assert runner.optim_wrapper["discriminator"].optimizer.state_dict()["state"] == {}


def test_f_is_minus_the_adversarial_loss_and_has_a_standard_error(tmp_path):
    # A discriminator without randomness, whose loss is the same number on any data: log 2 for each half.
    hook = dict(acceptance=dict(type="significant"), record=True)
    cfg = config(hook, dict(dropout=0.0, penalty=5.0), iterations=2)
    for player in ("generator", "discriminator"):
        cfg["optim_wrapper"][player]["optimizer"]["lr"] = 0.0
    cfg["model"]["type"] = "Indifferent"

    @MODELS.register_module(force=True)
    class Indifferent(PlainGAN):
        def __init__(self, **settings):
            super().__init__(**settings)
            torch.nn.init.zeros_(self.discriminator[-1].weight)
            torch.nn.init.zeros_(self.discriminator[-1].bias)

    train(cfg, tmp_path)
    first, second = decisions(tmp_path)
    assert first["f_new"] == pytest.approx(-2 * torch.tensor(2.0).log().item())
    assert second["standard_error"] == pytest.approx(0.0, abs=1e-9)
    cfg = config(hook, iterations=3)
    train(cfg, tmp_path / "other")
    assert all(decision["standard_error"] > 0 for decision in decisions(tmp_path / "other")[1:])
