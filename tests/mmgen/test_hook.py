"""The hook in the toolkit's own loop: what it trains, what other hooks see, what resumes."""

import json
import subprocess
import sys
import textwrap
import warnings

import pytest
import torch
from exact import assert_identical
from families import FAMILIES, load, write_images
from mmcv.runner import HOOKS, Hook
from mmgen.core.evaluation import GenerativeEvalHook
from mmgen_runs import checkpoint, losses, run, small_config

from minmax_plugin.mmgen.config import opt_in
from minmax_plugin.mmgen.hook import MinMaxHook
from minmax_plugin.settings import PRESETS

ALWAYS = dict(acceptance="always")


@pytest.mark.parametrize("value", ["last", "fresh"])
@pytest.mark.parametrize("k", [1, 3])
def test_always_is_the_plain_run_to_the_last_bit(tmp_path, recorded, k, value):
    plain = run(small_config(k), tmp_path / "plain")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="MinMaxHook\\(estimator='last'\\) with k = 1")
        ours = run(small_config(k, dict(ALWAYS, estimator=value)), tmp_path / "ours")
    assert losses(ours) == losses(plain)
    assert len(plain) == 18
    _, plain_generator, _, our_generator = recorded
    assert len(plain_generator.seen) == 18 // k
    assert len(our_generator.seen) == 18 // k - 1  # the last generator step waits for its cycle
    for one, other in zip(our_generator.seen, plain_generator.seen, strict=False):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("restore", ["both", "generator"])
@pytest.mark.parametrize("k", [1, 3])
def test_checkpoints_and_averages_only_see_incumbents(tmp_path, recorded, k, restore):
    # With "never", the generator's initial weights stay; with both players restored, the discriminator
    # keeps what it learned in the first cycle, which has no proposal.
    cfg = small_config(k, dict(acceptance="never", restore=restore), checkpoint_config=dict(interval=1))
    run(cfg, tmp_path)
    first = checkpoint(tmp_path, k)
    for iteration in range(k, 19):
        saved = checkpoint(tmp_path, iteration)
        for name, value in saved["state_dict"].items():
            if name.startswith("generator") or restore == "both":
                assert torch.equal(value, first["state_dict"][name]), (iteration, name)
        if restore == "both":
            assert_identical(saved["optimizer"]["discriminator"]["state"], first["optimizer"]["discriminator"]["state"])
        assert saved["optimizer"]["generator"]["state"] == {}
    ema = {n.removeprefix("generator_ema"): v for n, v in first["state_dict"].items() if n.startswith("generator_ema")}
    assert all(torch.equal(first["state_dict"]["generator" + name], value) for name, value in ema.items())


def test_showing_the_incumbent_does_not_disturb_the_training(tmp_path, recorded):
    hook = dict(acceptance=dict(type="random", rate=0.5))
    often = run(small_config(3, hook, checkpoint_config=dict(interval=1)), tmp_path / "often")
    without = {"custom_hooks": small_config(3, hook).custom_hooks[1:], "train_cfg.use_ema": False}
    seldom = run(small_config(3, hook, **without), tmp_path / "seldom")
    assert losses(often) == losses(seldom)
    assert {line["reason"] for line in often if "reason" in line} == {"initial", "random"}


def test_every_log_line_carries_the_decision(tmp_path, recorded):
    lines = run(small_config(3, dict(acceptance=dict(type="constant", rate=0.5), estimator="last")), tmp_path)
    for line in lines[5:]:
        assert {"acceptance", "f_old", "f_new", "reason", "cycle"} <= set(line)
        assert line["acceptance"] in (0.0, 1.0)
    # 18 discriminator steps are 6 cycles of 3; f is minus the discriminator's loss of the last ascent step
    assert lines[-1]["cycle"] == 6
    assert lines[-1]["f_new"] == pytest.approx(-(lines[-1]["loss_disc_fake"] + lines[-1]["loss_disc_real"]), abs=2e-5)
    assert {line["reason"] for line in lines if "reason" in line} <= {"initial", "improved", "chance", "worse"}


def test_a_later_hook_at_the_highest_priority_sees_incumbents_too(tmp_path, recorded):
    seen = []

    @HOOKS.register_module(force=True)
    class Onlooker(Hook):
        def after_train_iter(self, runner):
            seen.append(next(runner.model.module.generator.parameters()).detach().clone())

    cfg = small_config(3, dict(acceptance="never"))
    cfg.custom_hooks = [
        dict(type="Onlooker", priority="HIGHEST"),
        *cfg.custom_hooks,
        dict(type="Onlooker", priority=100),
    ]
    run(cfg, tmp_path)
    assert len(seen) == 36
    assert all(torch.equal(seen[0], other) for other in seen)


def test_the_toolkits_evaluation_sees_incumbents_and_draws_what_it_draws_without_us(tmp_path, recorded):
    seen = []

    @HOOKS.register_module(force=True)
    class WatchedEvaluation(GenerativeEvalHook):
        def after_train_iter(self, runner):
            super().after_train_iter(runner)
            if self.every_n_iters(runner, self.interval):
                seen.append(next(runner.model.module.generator.parameters()).detach().clone())

    def config(hook):
        cfg = small_config(3, hook)
        cfg.custom_hooks = cfg.custom_hooks[1:]  # so that the evaluation alone is due
        cfg.train_cfg.use_ema = False
        cfg.data.val = dict(type="GaussianMixture", size=16)
        metrics = dict(type="ModeCoverage", num_images=32)
        cfg.evaluation = dict(
            type="WatchedEvaluation", interval=2, metrics=metrics, sample_kwargs=dict(sample_model="orig")
        )
        return cfg

    lines = run(config(dict(acceptance="never")), tmp_path / "never")
    assert len(seen) == 9
    assert all(torch.equal(seen[0], other) for other in seen)
    assert "balance" in lines[-1]
    assert losses(run(config(ALWAYS), tmp_path / "always")) == losses(run(config(None), tmp_path / "plain"))


def test_accumulated_gradients_make_one_ascent_step(tmp_path, recorded):
    from minmax_plugin.mmgen.adapters import ascent_steps

    assert ascent_steps(8, accumulation=4) == 2
    with pytest.raises(ValueError, match="batch_accumulation_steps=3 must divide train_cfg.disc_steps=8"):
        ascent_steps(8, accumulation=3)


@pytest.mark.parametrize("interval", [6, 5])  # at the end of a cycle or within one; the last iteration is off both
def test_measurements_see_incumbents_where_nothing_else_looks(tmp_path, recorded, interval):
    cfg = small_config(3, dict(acceptance="never"), total_iters=17, **{"train_cfg.use_ema": False})
    metric = dict(type="FeatureDistance", num_images=50, features="raw")
    cfg.custom_hooks = [*cfg.custom_hooks[1:], dict(type="SampleMetrics", interval=interval, metrics=metric)]
    run(cfg, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["iter"] == 17
    assert len({line["fd"] for line in lines}) == 1


@pytest.mark.parametrize("priority", ["HIGHEST", "NORMAL", "LOW", "VERY_LOW"])
def test_other_hooks_and_checkpoints_are_where_they_are_without_us(tmp_path, recorded, priority):
    called = []

    @HOOKS.register_module(force=True)
    class Called(Hook):
        def __init__(self, name):
            self.name = name

        def before_run(self, runner):
            called.append(f"{self.name} before run")

        def before_epoch(self, runner):
            called.append(f"{self.name} before epoch")

    def config(hook):
        cfg = small_config(1, hook, total_iters=3)
        if hook is not None:
            cfg.custom_hooks[-1]["priority"] = priority
        cfg.custom_hooks = [dict(type="Called", name="first"), *cfg.custom_hooks, dict(type="Called", name="last")]
        return cfg

    found = []
    for name, hook in (("plain", None), ("ours", dict())):
        run(config(hook), tmp_path / name / "run")
        found.append((list(called), sorted(p.relative_to(tmp_path / name) for p in tmp_path.glob(f"{name}/**/*.pth"))))
        called.clear()
    assert found[0] == found[1]


def test_a_run_that_ends_in_mid_cycle_ends_at_the_incumbent(tmp_path, recorded):
    ends = []

    @HOOKS.register_module(force=True)
    class Last(Hook):
        def after_run(self, runner):
            ends.append({n: v.clone() for n, v in runner.model.module.state_dict().items()})

    cfg = small_config(3, ALWAYS, total_iters=8)
    cfg.custom_hooks.append(dict(type="Last"))
    run(cfg, tmp_path)
    assert_identical(ends[0], dict(checkpoint(tmp_path, 8)["state_dict"]))


def test_a_deferred_optimizer_without_its_hook_says_so(tmp_path, recorded):
    from mmcv.runner import OPTIMIZERS

    optimizer = OPTIMIZERS.get("MinMaxAdam")([torch.nn.Parameter(torch.ones(1))])
    with pytest.raises(RuntimeError, match="add dict\\(type='MinMaxHook'\\) to custom_hooks, or use Adam"):
        optimizer.step()


def test_decisions_are_recorded_and_a_control_is_matched_to_them(tmp_path, recorded):
    hook = dict(acceptance=dict(type="constant", rate=0.4), record=True)
    run(small_config(1, hook), tmp_path / "first")
    path = tmp_path / "first" / "decisions.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(18))
    assert {"f_old", "f_new", "standard_error", "accepted", "reason", "rejections"} <= set(lines[0])
    matched = dict(acceptance=dict(type="matched", record=str(path)), record=True)
    run(small_config(1, matched), tmp_path / "second")
    reasons = [json.loads(x)["reason"] for x in (tmp_path / "second" / "decisions.jsonl").read_text().splitlines()]
    assert set(reasons) == {"initial", "random"}


def test_the_ascent_stops_at_its_tolerance(tmp_path, recorded):
    capped = run(small_config(3, dict(ALWAYS, ascent_tolerance=1e-12)), tmp_path / "capped")
    plain = run(small_config(3), tmp_path / "plain")
    assert losses(capped) == losses(plain)
    run(small_config(3, dict(ALWAYS, ascent_tolerance=1e9)), tmp_path / "at once")
    saved = checkpoint(tmp_path / "at once", 18)
    assert saved["optimizer"]["discriminator"]["state"] == {}  # every gradient was small enough: no step
    assert saved["optimizer"]["generator"]["minmax"]["counts"]["disc_steps"] == 0


def test_an_ascent_that_is_done_continues_in_the_next_cycle_and_after_a_resume(tmp_path, recorded):
    @HOOKS.register_module(force=True)
    class Tolerance(Hook):
        reads_weights = False

        def before_train_iter(self, runner):
            tolerance = 1e9 if runner.iter == 0 else 1e-12
            runner.hooks[0].settings = runner.hooks[0].settings.with_setting("ascent_tolerance", tolerance)

    def config(**overlay):
        cfg = small_config(3, dict(ALWAYS, ascent_tolerance=1.0), **overlay)
        cfg.custom_hooks = [*cfg.custom_hooks, dict(type="Tolerance")]
        return cfg

    run(config(checkpoint_config=dict(interval=2)), tmp_path / "whole")
    (path,) = (tmp_path / "whole").glob("**/iter_2.pth")
    run(config(resume_from=str(path)), tmp_path / "resumed")
    for name in ("whole", "resumed"):
        state = checkpoint(tmp_path / name, 18)["optimizer"]["generator"]["minmax"]
        assert state["counts"] == {"disc_steps": 15, "images": 264}  # no step in the first cycle


def test_a_step_that_a_gradient_scaler_skips_is_not_taken_later(tmp_path, recorded):
    @HOOKS.register_module(force=True)
    class Overflows(Hook):
        reads_weights = False

        def before_train_iter(self, runner):  # as a gradient scaler has a fused optimizer skip one step
            runner.optimizer["generator"].found_inf = torch.tensor(float(runner.iter == 3))

        def after_train_iter(self, runner):
            runner.optimizer["generator"].found_inf = torch.tensor(0.0)

    cfg = small_config(1, dict(acceptance="never", record=True), total_iters=7)
    cfg.optimizer.generator.fused = True
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="Overflows")]
    run(cfg, tmp_path)
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    assert reasons == ["initial", "never", "never", "never", "no proposal", "never", "never"]


def test_patience_ends_the_training_with_a_checkpoint(tmp_path, recorded):
    lines = run(small_config(3, dict(acceptance="never", patience=2)), tmp_path)
    # 3 steps set f_old, then three cycles are rejected; the last checkpoint is written there
    assert len(lines) == 12
    path = str(next(tmp_path.glob("**/iter_12.pth")))
    assert checkpoint(tmp_path, 12)["optimizer"]["generator"]["minmax"]["game"]["rejections"] == 3
    again = small_config(3, dict(acceptance="never", patience=2), resume_from=path)
    assert not run(again, tmp_path / "again")  # it is at its end
    assert not list((tmp_path / "again").glob("**/iter_*.pth"))
    longer = run(small_config(3, dict(acceptance="never", patience=4), resume_from=path), tmp_path / "longer")
    assert [line["iter"] for line in longer] == [13, 14, 15, 16, 17, 18]  # to the rejection that is one too many


@pytest.mark.parametrize("recover", [False, True])
def test_a_non_finite_loss_is_rolled_back_or_named(tmp_path, recorded, recover):
    @HOOKS.register_module(force=True)
    class Breaks(Hook):
        def before_train_iter(self, runner):
            if runner.iter == 6:
                runner.optimizer["discriminator"].param_groups[0]["lr"] = 1e38
            elif runner.iter == 9:
                runner.optimizer["discriminator"].param_groups[0]["lr"] = 1e-3

    cfg = small_config(3, dict(recover_nonfinite=recover, restore="generator", record=True), lr_config=None)
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="Breaks")]
    if not recover:
        with pytest.raises(
            FloatingPointError, match="the damage lies outside what is restored .* Use recover_nonfinite=True"
        ):
            run(cfg, tmp_path)
        return
    run(cfg, tmp_path)
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    assert reasons[2] == "non-finite"
    assert set(reasons[3:]) <= {"warm-up", "usual"}


@pytest.mark.parametrize("recover", [False, True])
def test_the_first_cycle_is_rolled_back_too(tmp_path, recorded, recover):
    @HOOKS.register_module(force=True)
    class BreaksAtOnce(Hook):
        def before_train_iter(self, runner):
            for group in runner.optimizer["discriminator"].param_groups:
                group["lr"] = 1e38 if runner.iter == 1 else 1e-3

    cfg = small_config(3, dict(recover_nonfinite=recover, record=True, estimator="last"), lr_config=None)
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="BreaksAtOnce")]
    if not recover:
        with pytest.raises(FloatingPointError, match="Use recover_nonfinite=True"):
            run(cfg, tmp_path)
        return
    run(cfg, tmp_path)
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    assert reasons[:2] == ["non-finite", "initial"]


def test_a_record_starts_afresh_and_is_cut_on_resume(tmp_path, recorded):
    hook = dict(record=True)
    for _ in range(2):
        run(small_config(3, hook, checkpoint_config=dict(interval=9)), tmp_path)
        assert (tmp_path / "decisions.jsonl").read_text().count("\n") == 6
    (path,) = tmp_path.glob("**/iter_9.pth")
    run(small_config(3, hook, resume_from=str(path)), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(6))
    assert lines[0]["f_old"] is None  # plain JSON: no NaN


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains(tmp_path, recorded, preset):
    assert len(run(small_config(3, dict(preset=preset)), tmp_path)) == 18


def test_a_bad_setting_is_named_at_build_time():
    with pytest.raises(ValueError, match="every must be 1 or more decisions, but got 0"):
        MinMaxHook(acceptance=dict(type="periodic", every=0))


@pytest.mark.parametrize("value", ["last", "paired"])
@pytest.mark.parametrize("at", [6, 7, 8])
def test_the_game_resumes_in_mid_cycle(tmp_path, recorded, at, value):
    # Without random numbers in the networks and with the whole data set in each batch, a resumed run of the
    # toolkit is deterministic but for the noise, which is the same in every iteration here.
    @HOOKS.register_module(force=True)
    class SameNoise(Hook):
        def before_train_iter(self, runner):
            torch.manual_seed(runner.iter)

    def config(**overlay):
        hook = dict(acceptance=dict(type="constant", rate=0.3), estimator=value, record=True)
        cfg = small_config(3, hook, **overlay)
        cfg.custom_hooks = [*cfg.custom_hooks, dict(type="SameNoise")]
        cfg.data.train.size = cfg.data.samples_per_gpu
        cfg.model.discriminator.dropout = 0.0
        return cfg

    whole = run(config(checkpoint_config=dict(interval=at)), tmp_path / "whole")
    (path,) = (tmp_path / "whole").glob(f"**/iter_{at}.pth")
    resumed = run(config(resume_from=str(path)), tmp_path / "resumed")
    for line, again in zip(whole[at:], resumed, strict=True):
        names = {name for name in again if "loss" in name or name in ("cycle", "f_old", "f_new")}
        assert {"loss_disc_fake", "loss_disc_real"} <= names  # the rest comes with the first decision
        assert {name: again[name] for name in names} == {name: line[name] for name in names}
    assert resumed[-1]["cycle"] == 6


def test_several_generator_steps_are_a_proposal_in_a_process_that_has_built_no_plain_optimizer(tmp_path):
    # torch counts steps by hooks around ``step()``, which it puts on a class when its first optimizer is built
    cfg = load(next(f for f in FAMILIES if f.name == "SNGAN-proj"), write_images(tmp_path / "data"), tmp_path)
    opt_in(cfg, acceptance="never", record=True)
    cfg.train_cfg.update(disc_steps=2, gen_steps=2)
    for player in cfg.optimizer.values():
        player.fused = True
    cfg.total_iters = 14
    cfg.custom_hooks.append(dict(type="Overflow"))
    cfg.dump(str(tmp_path / "config.py"))
    code = f"""
    import torch
    from minmax_plugin.mmgen.config import load_config
    from minmax_plugin.mmgen.train import train
    from mmcv.runner import HOOKS, Hook

    @HOOKS.register_module()
    class Overflow(Hook):
        reads_weights = False

        def before_train_iter(self, runner):  # as a gradient scaler has a fused optimizer skip its steps
            generator = runner.optimizer["generator"]
            generator.found_inf = torch.tensor(1.0 if runner.iter // 2 == 3 else 0.0)

    train(load_config({str(tmp_path / "config.py")!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    decisions = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    assert [d["reason"] for d in decisions] == ["initial", "never", "never", "never", "no proposal", "never", "never"]
