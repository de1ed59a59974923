import copy
import json
from types import SimpleNamespace

import pytest
import torch
from mmcv.runner import OPTIMIZERS
from mmgen.models import build_model
from mmgen_runs import checkpoint, losses, run, small_config
from torch.nn.functional import softplus

from minmax_plugin.baselines import build_baseline
from minmax_plugin.baselines.optimizers import ExtraAdam
from minmax_plugin.mmgen.baselines import ClipWeights, LookaheadMinmaxHook, RandomAscent, TiAdaHook

PLAYERS = ("generator", "discriminator")


def config(*hooks, k=1, total_iters=4, **overlay):
    """The small config with ``hooks`` before the averaging of weights, or after it, which must not matter."""
    cfg = small_config(k, total_iters=total_iters, checkpoint_config=dict(interval=1), **overlay)
    cfg.custom_hooks = [*cfg.custom_hooks, *hooks]
    return cfg


def both(**settings):
    return dict.fromkeys(PLAYERS, settings)


def weights(saved, player):
    return [v for name, v in saved["state_dict"].items() if name.startswith(player + ".")]


def test_lookahead_goes_back_jointly_every_period_of_generator_turns(tmp_path, recorded):
    # k = 2 and a period of 2 turns: every 4 iterations
    plain = run(config(k=2), tmp_path / "plain")
    hook = dict(type="LookaheadMinmaxHook", period=2, alpha=0.25)
    ours = run(config(hook, k=2), tmp_path / "ours")
    assert losses(ours) == losses(plain)
    discriminator, generator, *_ = recorded
    start = {"discriminator": discriminator.seen[0], "generator": generator.seen[0]}
    fast, saved = checkpoint(tmp_path / "plain", 4), checkpoint(tmp_path / "ours", 4)
    for player in PLAYERS:
        expected = [s + 0.25 * (f - s) for s, f in zip(start[player], weights(fast, player), strict=True)]
        torch.testing.assert_close(weights(saved, player), expected)
        (group,) = saved["optimizer"][player]["param_groups"]
        assert group["lookahead_rounds"] == 2
        assert all(torch.equal(a, b) for a, b in zip(group["lookahead_slow"], weights(saved, player), strict=True))
    # at iteration 3 nothing had gone back yet; the average of weights took the slow ones in at iteration 4
    before = checkpoint(tmp_path / "ours", 3)["state_dict"]
    assert all(torch.equal(v, before[n]) for n, v in checkpoint(tmp_path / "plain", 3)["state_dict"].items())
    for name, now in saved["state_dict"].items():
        if name.startswith("generator."):
            average = name.replace("generator.", "generator_ema.")
            expected = now + 0.999 * (before[average] - now)
            torch.testing.assert_close(saved["state_dict"][average], expected)


def test_lookahead_resumes_between_two_backtrackings(tmp_path, recorded):
    hook = dict(type="LookaheadMinmaxHook", period=3, alpha=0.5)
    run(config(hook, total_iters=2), tmp_path / "first")
    saved = checkpoint(tmp_path / "first", 2)
    (path,) = (tmp_path / "first").glob("**/iter_2.pth")
    # With a learning rate of 0, all that moves the weights is the backtracking.
    still = config(hook, total_iters=3, resume_from=str(path), lr_config=dict(policy="step", step=[1], gamma=0.0))
    run(still, tmp_path / "second")
    resumed = checkpoint(tmp_path / "second", 3)
    for player in PLAYERS:
        (group,) = saved["optimizer"][player]["param_groups"]
        fast = weights(saved, player)
        expected = [s + 0.5 * (f - s) for s, f in zip(group["lookahead_slow"], fast, strict=True)]
        torch.testing.assert_close(weights(resumed, player), expected)
        assert not all(torch.equal(a, b) for a, b in zip(expected, fast, strict=True))


def test_optimistic_wasserstein_training_keeps_the_weights_clipped(tmp_path):
    overlay = {
        "model": dict(gan_loss=dict(type="GANLoss", gan_type="wgan")),
        "optimizer": both(type="OptimisticAdam", lr=0.1),
    }
    run(config(dict(type="ClipWeights", limit=0.1), **overlay), tmp_path)
    first, last = checkpoint(tmp_path, 1), checkpoint(tmp_path, 4)
    for saved in (first, last):
        bound = max(v.abs().max() for v in weights(saved, "discriminator"))
        assert bound == torch.tensor(0.1)
        assert max(v.abs().max() for v in weights(saved, "generator")) > 0.1
    state = last["optimizer"]["generator"]["state"][0]
    assert state["step"] == 4
    assert state["previous_direction"].any()


def test_weights_are_clipped_before_the_generator_looks():
    p = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([p], lr=1.0)
    ClipWeights(limit=0.1).before_run(SimpleNamespace(optimizer={"discriminator": optimizer}))
    p.grad = torch.tensor([0.05, -3.0])
    optimizer.step()
    assert p.tolist() == pytest.approx([-0.05, 0.1])


def test_every_group_of_weights_is_clipped():
    weights = [torch.nn.Parameter(torch.full((1,), start)) for start in (3.0, -3.0)]
    optimizer = torch.optim.SGD([dict(params=[p]) for p in weights], lr=1.0)
    ClipWeights(limit=0.1).before_run(SimpleNamespace(optimizer={"discriminator": optimizer}))
    optimizer.step()
    assert [p.item() for p in weights] == pytest.approx([0.1, -0.1])


def test_extragradient_extrapolates_and_steps_in_turns(tmp_path):
    run(config(total_iters=3, optimizer=both(type="AlternatingExtraAdam", lr=0.01)), tmp_path)
    saved = [checkpoint(tmp_path, iteration) for iteration in (1, 2, 3)]
    for player in PLAYERS:
        states = [one["optimizer"][player]["state"] for one in saved]
        assert [{"origin" in s for s in one.values()} for one in states] == [{True}, {False}, {True}]
        # the third iteration extrapolates from where the second one stepped to
        origins = [s["origin"] for s in states[2].values()]
        assert all(torch.equal(a, b) for a, b in zip(origins, weights(saved[1], player), strict=True))


def test_alternating_calls_are_extrapolate_and_step():
    players = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    ours = OPTIMIZERS.build(dict(type="AlternatingExtraAdam", params=[players[0]], lr=0.1))
    plain = ExtraAdam([players[1]], lr=0.1)
    for move in (plain.extrapolate, plain.step) * 5:
        for p in players:
            p.grad = p.detach().cos()
        ours.step()
        move()
        assert torch.equal(*players)


def test_a_fractional_number_of_ascent_steps(tmp_path, recorded):
    run(config(dict(type="RandomAscent", mean=2.5), total_iters=40), tmp_path / "whole")
    generator, discriminator = sorted(recorded, key=lambda o: len(o.seen))
    assert len(discriminator.seen) == 40
    assert 13 <= len(generator.seen) <= 20
    # resumed in the middle of a cycle, the turns are the same
    run(config(dict(type="RandomAscent", mean=2.5), total_iters=17), tmp_path / "first")
    path = next((tmp_path / "first").glob("**/iter_17.pth"))
    del recorded[:]
    run(config(dict(type="RandomAscent", mean=2.5), total_iters=40, resume_from=str(path)), tmp_path / "second")
    turns = [len(generator.seen), sum(len(o.seen) for o in recorded if len(o.seen) < 23)]
    hook = RandomAscent(mean=2.5)
    ends = hook._turns()
    expected = [end for end in (next(ends) for _ in range(30)) if end < 40]
    assert turns == [len(expected), sum(end >= 17 for end in expected)]


def turns(seed, start=0):
    hook = RandomAscent(mean=1.5, seed=seed)
    runner = SimpleNamespace(optimizer=optimizers("Adam"), model=SimpleNamespace(), iter=start)
    hook.before_run(runner)
    for runner.iter in range(start, 30):
        hook.before_train_iter(runner)
        yield runner.model.disc_steps == 1


def test_the_turns_are_those_of_the_seed_wherever_a_run_is_resumed():
    whole = list(turns(3))
    assert 10 < sum(whole) < 30
    assert whole == list(turns(3)) != list(turns(2))
    for start in range(1, 20):
        assert list(turns(3, start)) == whole[start:]


def test_whole_ascent_steps_are_the_toolkit_s_own(tmp_path, recorded):
    plain = run(config(k=3, total_iters=12), tmp_path / "plain")
    ours = run(config(dict(type="RandomAscent", mean=3), k=1, total_iters=12), tmp_path / "ours")
    assert losses(ours) == losses(plain)


def test_the_unrolled_model_is_the_plain_method(tmp_path):
    settings = small_config().model
    settings.type = "UnrolledGAN"
    settings.gan_loss = dict(type="SaturatingGANLoss")
    settings.discriminator.dropout = 0.0
    model = build_model(settings, train_cfg=dict(unrolled_steps=3))
    other = copy.deepcopy(model)

    def adams(of):
        networks = {"generator": of.generator, "discriminator": of.discriminator}
        return {name: torch.optim.Adam(network.parameters(), lr=0.01) for name, network in networks.items()}

    ours, theirs = adams(model), adams(other)

    def f():
        fake, data = other.discriminator(other.generator(noise)), other.discriminator(real)
        return -softplus(-data).mean() - softplus(fake).mean()

    play = build_baseline("unrolled", *theirs.values(), f, lambda: -f(), module=other.discriminator, k=3)
    for seed in range(3):
        real = torch.randn(16, 2)
        torch.manual_seed(seed)
        outputs = model.train_step(dict(real_img=real), ours)
        torch.manual_seed(seed)
        noise = torch.randn(16, 8)
        now = -f().item()
        play()
        assert outputs["log_vars"]["loss_disc"] == pytest.approx(now)  # of the real step, not of an imagined one
    torch.testing.assert_close(model.state_dict(), other.state_dict())
    assert {"loss_disc", "loss_gen"} == set(outputs["log_vars"])
    with pytest.raises(ValueError, match="UnrolledGAN is for disc_steps=1"):
        build_model(settings, train_cfg=dict(disc_steps=2)).train_step(dict(real_img=real), ours)
    assert outputs["num_samples"] == 16
    assert build_model(settings).unrolled_steps == 6
    for unfit in (dict(ddp_reducer=object()), dict(loss_scaler=object()), dict(use_apex_amp=True)):
        with pytest.raises(ValueError, match="one device and single precision"):
            build_model(settings).train_step(dict(real_img=real), ours, **unfit)
    penalty = dict(type="GradientPenaltyLoss", data_info=dict(discriminator="disc"))
    with pytest.raises(ValueError, match="without auxiliary losses"):
        build_model({**settings, "disc_auxiliary_loss": penalty}).train_step(dict(real_img=real), ours)


def test_the_lead_model_is_the_plain_method_by_turns():
    settings = small_config().model
    settings.type = "LeadGAN"
    settings.discriminator.dropout = 0.0
    model = build_model(settings, train_cfg=dict(lead_alpha=0.4))
    other = copy.deepcopy(model)

    def adams(of):
        networks = {"generator": of.generator, "discriminator": of.discriminator}
        return {name: torch.optim.Adam(network.parameters(), lr=0.01) for name, network in networks.items()}

    ours, theirs = adams(model), adams(other)

    def fake():
        return other.discriminator(other.generator(noise))

    def disc_loss():
        return softplus(-other.discriminator(real)).mean() + softplus(fake()).mean()

    play = build_baseline("lead", *theirs.values(), lambda: softplus(-fake()).mean(), disc_loss, alpha=0.4)
    for seed in range(4):
        real = torch.randn(16, 2)
        torch.manual_seed(seed)
        model.train_step(dict(real_img=real), ours)
        torch.manual_seed(seed)
        noise = torch.randn(16, 8)
        play.ascend()
        play.descend()
    torch.testing.assert_close(model.state_dict(), other.state_dict())


ROUNDS = {"UnrolledGAN": dict(unrolled_steps=2), "LeadGAN": dict(lead_alpha=0.4)}


@pytest.mark.parametrize("model", ROUNDS)
def test_a_model_of_rounds_trains_in_the_toolkit(model, tmp_path):
    cfg = config(total_iters=4, model=dict(type=model), train_cfg=ROUNDS[model])
    cfg.optimizer = both(type="Adam", lr=0.01)
    lines = run(cfg, tmp_path)
    assert len(losses(lines)) == 4
    first, last = checkpoint(tmp_path, 1), checkpoint(tmp_path, 4)
    assert not torch.equal(weights(first, "generator")[0], weights(last, "generator")[0])


@pytest.mark.parametrize(
    ("model", "value"), [("UnrolledGAN", "fresh"), ("UnrolledGAN", "paired"), ("LeadGAN", "fresh")]
)
def test_a_step_of_a_round_can_be_the_proposal(tmp_path, model, value):
    rounds = dict(total_iters=12, model=dict(type=model), train_cfg=ROUNDS[model])

    def trained(name, type, resume_from=None, **hook):
        cfg = config(**rounds, resume_from=resume_from)
        cfg.optimizer = both(type=type, lr=0.01)
        cfg.custom_hooks = [*cfg.custom_hooks, *([dict(type="MinMaxHook", estimator=value, **hook)] if hook else [])]
        return losses(run(cfg, tmp_path / name))

    plain = trained("plain", "Adam")
    assert trained("always", "MinMaxAdam", acceptance="always") == plain  # to the last bit
    assert trained("never", "MinMaxAdam", acceptance="never") != plain
    for player in PLAYERS:  # the answers to what is refused, too
        start, end = (weights(checkpoint(tmp_path / "never", i), player) for i in (1, 12))
        assert all(torch.equal(a, b) for a, b in zip(start, end, strict=True))
    sometimes = dict(type="MinMaxAdam", acceptance=dict(type="random", rate=0.5), record=True)
    whole = trained("whole", **sometimes)
    (decisions,) = (tmp_path / "whole").glob("decisions.jsonl")
    assert {json.loads(line)["accepted"] for line in decisions.read_text().splitlines()[1:]} == {True, False}
    (saved,) = (tmp_path / "whole").glob("**/iter_3.pth")
    assert trained("resumed", **sometimes, resume_from=str(saved)) == whole[3:]


def test_tiada_steps_the_generator_with_the_discriminator_s_gradients_in_mind(tmp_path):
    def trained(name, **overlay):
        cfg = config(dict(type="TiAdaHook"), **overlay)
        cfg.optimizer = both(type="TiAda", lr=0.1)
        return losses(run(cfg, tmp_path / name))

    whole = trained("whole")
    saved = checkpoint(tmp_path / "whole", 2)["optimizer"]
    (low,), (high,) = (saved[player]["param_groups"] for player in PLAYERS)
    assert (low["exponent"], high["exponent"]) == (0.6, 0.4)
    assert low["opponent_v"] == high["v"] > low["v"] > 0
    (path,) = (tmp_path / "whole").glob("**/iter_2.pth")
    assert trained("resumed", resume_from=str(path)) == whole[2:]


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (
            lambda: before_run(TiAdaHook(), optimizers("Adam")),
            "optimizer.generator.type must be 'TiAda' for TiAdaHook, but is 'Adam'.",
        ),
        (
            lambda: before_run(TiAdaHook(), optimizers("MinMaxTiAda")),
            "TiAdaHook and MinMaxHook cannot go together",
        ),
        (lambda: ClipWeights(limit=0), "limit must be above 0, but got 0."),
        (lambda: before_run(ClipWeights(), {}), "optimizer.discriminator is missing: this hook needs a model with one"),
        (lambda: before_run(LookaheadMinmaxHook(), {}), "optimizer.generator is missing"),
        (
            lambda: before_run(LookaheadMinmaxHook(), torch.optim.Adam([torch.ones(1)])),
            "optimizer.generator is missing",
        ),
        (
            lambda: before_run(LookaheadMinmaxHook(period=0), optimizers("Adam")),
            "period must be a whole number of 1 or more, but got 0.",
        ),
        (lambda: RandomAscent(mean=0.5), "mean must be 1 or more ascent steps, but got 0.5."),
        (
            lambda: before_run(RandomAscent(mean=2.5), optimizers("MinMaxAdam")),
            "RandomAscent and MinMaxHook cannot go together",
        ),
        (
            lambda: before_run(LookaheadMinmaxHook(), optimizers("MinMaxAdam")),
            "LookaheadMinmaxHook and MinMaxHook cannot go together",
        ),
    ],
)
def test_a_bad_setting_is_named(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


def optimizers(kind):
    return {player: OPTIMIZERS.build(dict(type=kind, params=[torch.ones(1)])) for player in PLAYERS}


def before_run(hook, optimizer):
    hook.before_run(SimpleNamespace(optimizer=optimizer, model=SimpleNamespace(disc_steps=1), hooks=[hook]))
