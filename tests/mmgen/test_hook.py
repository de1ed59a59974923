import warnings

import pytest
import torch
from exact import assert_identical
from mmcv.runner import HOOKS, Hook
from mmgen_runs import checkpoint, losses, run, small_config

ALWAYS = dict(acceptance="always")


@pytest.mark.parametrize("value", ["last", "fresh"])
@pytest.mark.parametrize("k", [1, 3])
def test_always_is_the_plain_run_to_the_last_bit(tmp_path, recorded, k, value):
    plain = run(small_config(k), tmp_path / "plain")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="MinMaxHook\\(value='last'\\) with k = 1")
        ours = run(small_config(k, dict(ALWAYS, value=value)), tmp_path / "ours")
    assert losses(ours) == losses(plain)
    assert len(plain) == 18
    _, plain_generator, _, our_generator = recorded
    assert len(plain_generator.seen) == 18 // k
    assert len(our_generator.seen) == 18 // k - 1  # the last generator step waits for its cycle
    for one, other in zip(our_generator.seen, plain_generator.seen, strict=False):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("restore", ["both", "generator"])
@pytest.mark.parametrize("k", [1, 3])
def test_checkpoints_and_averages_only_see_decided_pairs(tmp_path, recorded, k, restore):
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


def test_showing_the_decided_pair_does_not_disturb_the_training(tmp_path, recorded):
    hook = dict(acceptance=dict(type="random", rate=0.5))
    often = run(small_config(3, hook, checkpoint_config=dict(interval=1)), tmp_path / "often")
    seldom = run(small_config(3, hook, custom_hooks=small_config(3, hook).custom_hooks[1:]), tmp_path / "seldom")
    assert losses(often) == losses(seldom)
    assert {line["reason"] for line in often if "reason" in line} == {"initial", "random"}


def test_every_log_line_carries_the_decision(tmp_path, recorded):
    lines = run(small_config(3, dict(acceptance=dict(type="constant", rate=0.5))), tmp_path)
    for line in lines[5:]:
        assert {"acceptance", "f_old", "f_new", "reason", "cycle"} <= set(line)
        assert line["acceptance"] in (0.0, 1.0)
    # 18 discriminator steps are 6 cycles of 3; f is minus the discriminator's loss of the last ascent step
    assert lines[-1]["cycle"] == 6
    assert lines[-1]["f_new"] == pytest.approx(-(lines[-1]["loss_disc_fake"] + lines[-1]["loss_disc_real"]), abs=2e-5)
    assert {line["reason"] for line in lines if "reason" in line} <= {"initial", "improved", "chance", "worse"}


def test_fresh_value_differs_from_the_last_step_and_is_in_inference_mode(tmp_path, recorded):
    fresh = run(small_config(3, dict(ALWAYS, value="fresh")), tmp_path / "fresh")
    last = run(small_config(3, dict(ALWAYS, value="last")), tmp_path / "last")
    assert losses(fresh) == losses(last)
    assert [x["f_new"] for x in fresh if "f_new" in x] != [x["f_new"] for x in last if "f_new" in x]


def test_last_value_at_k_1_warns(tmp_path, recorded):
    with pytest.warns(UserWarning, match="k = 1 reads f before the discriminator has answered"):
        run(small_config(1, dict(value="last"), total_iters=2), tmp_path)


def test_a_later_hook_at_the_highest_priority_sees_decided_pairs_too(tmp_path, recorded):
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


def test_accumulated_gradients_make_one_ascent_step(tmp_path, recorded):
    from minmax_plugin.mmgen.gan import ascent_steps

    assert ascent_steps(8, accumulation=4) == 2
    with pytest.raises(ValueError, match="batch_accumulation_steps=3 must divide train_cfg.disc_steps=8"):
        ascent_steps(8, accumulation=3)
    with pytest.raises(ValueError, match="gen_steps must be 1"):
        ascent_steps(8, gen_steps=2)


def test_a_facade_without_its_hook_says_so(tmp_path, recorded):
    from mmcv.runner import OPTIMIZERS

    optimizer = OPTIMIZERS.get("MinMaxAdam")([torch.nn.Parameter(torch.ones(1))])
    with pytest.raises(RuntimeError, match="add dict\\(type='MinMaxHook'\\) to custom_hooks, or use Adam"):
        optimizer.step()
