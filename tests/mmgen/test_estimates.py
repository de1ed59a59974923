"""How the hook reads f: each estimator, by groups of samples, in inference mode."""

import functools
import json

import pytest
import torch
from mmgen.models import build_model
from mmgen.models.losses import GANLoss
from mmgen_runs import checkpoint, losses, run, small_config

from minmax_plugin.mmgen.adapters import UnconditionalAdapter
from minmax_plugin.mmgen.adapters.base import by_group
from minmax_plugin.mmgen.estimates import make_estimator
from minmax_plugin.settings import EstimatorSettings

ALWAYS = dict(acceptance="always")


def test_fresh_value_differs_from_the_last_step_and_is_in_inference_mode(tmp_path, recorded):
    fresh = run(small_config(3, dict(ALWAYS, estimator="fresh")), tmp_path / "fresh")
    last = run(small_config(3, dict(ALWAYS, estimator="last")), tmp_path / "last")
    assert losses(fresh) == losses(last)
    assert [x["f_new"] for x in fresh if "f_new" in x] != [x["f_new"] for x in last if "f_new" in x]


LOSSES = {kind: GANLoss(kind) for kind in ("vanilla", "lsgan", "wgan", "wgan-logistic-ns", "hinge")}
LOSSES["of numbers it looks at"] = lambda x, **_: x.mean() if x.mean().item() > 0 else x.min()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("shape", [(24,), (24, 1), (24, 1, 5, 5)])
@pytest.mark.parametrize("real", [True, False])
def test_the_loss_of_each_group_is_that_of_its_samples(loss, shape, real):
    prediction = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    loss = functools.partial(loss, target_is_real=real, is_disc=True)
    slowly = torch.stack([loss(group) for group in prediction.chunk(8)])
    torch.testing.assert_close(by_group(loss, prediction, 8), slowly)


def test_an_evaluation_is_not_taken_for_an_ascent_step():
    cfg = small_config(3)
    model = build_model(cfg.model, train_cfg=cfg.train_cfg)
    adapter = UnconditionalAdapter(model)
    adapter.watch_loss()
    for real in (True, False):
        model.gan_loss(torch.ones(4, 1), target_is_real=real, is_disc=True)
    seen = adapter.last_value().item()
    with torch.inference_mode():
        adapter.fresh_value({"real_img": torch.zeros(16, 2)})
    assert adapter.last_value().item() == seen


def test_last_value_at_k_1_warns(tmp_path, recorded):
    with pytest.warns(UserWarning, match="k = 1 reads f before the discriminator has answered"):
        run(small_config(1, dict(estimator="last"), total_iters=2), tmp_path)


def test_f_is_read_with_both_networks_in_inference_mode():
    cfg = small_config(3)
    model = build_model(cfg.model, train_cfg=cfg.train_cfg).train()
    networks, seen = (model.generator, model.discriminator), []
    for network in networks:
        network.register_forward_hook(lambda network, *_: seen.append(network.training))
    batch = {"real_img": torch.zeros(16, 2)}
    make_estimator(EstimatorSettings("fresh"), UnconditionalAdapter(model), lambda: batch, 0).evaluate_proposal()
    assert len(seen) == 3
    assert not any(seen)
    assert all(network.training for network in networks)


@pytest.mark.parametrize(
    ("value", "evaluations"),  # one for the first cycle, and those of 17 decisions
    [
        ("paired", 1 + 17),
        (dict(type="fresh", reread=True), 1 + 17 * 2),
        (dict(type="paired", fraction=0.5, batches=2), 2 + 17 * 2),
        (dict(type="paired", hold=6), 3),
    ],
)
def test_always_stays_the_plain_run_under_every_estimator(tmp_path, recorded, value, evaluations):
    plain = run(small_config(1), tmp_path / "plain")
    ours = run(small_config(1, dict(ALWAYS, estimator=value)), tmp_path / "ours")
    assert losses(ours) == losses(plain)
    game = checkpoint(tmp_path / "ours", 18)["optimizer"]["generator"]["minmax"]["game"]
    assert game["value"]["evaluations"] == evaluations


def test_a_paired_comparison_has_less_noise(tmp_path, recorded):
    errors = {}
    for value in ("paired", "fresh"):
        by_error = dict(type="significant", z=1e9)  # keeps all, and needs the standard error
        lines = run(small_config(1, dict(acceptance=by_error, estimator=value, pool=2)), tmp_path / value)
        errors[value] = sum(line["standard_error"] for line in lines[2:])
    assert 0 < errors["paired"] < errors["fresh"] / 2


def test_a_part_of_the_batch_is_another_part_each_time(tmp_path, recorded, monkeypatch):
    seen = []
    discriminate = UnconditionalAdapter.discriminate
    monkeypatch.setattr(
        UnconditionalAdapter,
        "discriminate",
        lambda adapter, batch: (seen.append(batch["real_img"]), discriminate(adapter, batch))[1],
    )
    run(small_config(1, dict(ALWAYS, estimator=dict(type="paired", fraction=0.125), pool=1)), tmp_path)
    batch = small_config(1).data.samples_per_gpu
    assert all(len(images) == min(8, batch) for images in seen)
    distinct = {tuple(image.flatten().tolist()) for images in seen for image in images}
    assert len(distinct) > 8  # one batch is held, and not only its first part is read
    assert all(torch.equal(a, b) for a, b in zip(seen[1::2], seen[2::2], strict=False))  # and a pair sees the same


def test_every_batch_of_the_pool_is_used(tmp_path, recorded, monkeypatch):
    seen = set()
    discriminate = UnconditionalAdapter.discriminate

    def noted(adapter, batch):
        seen.add(tuple(batch["real_img"].flatten().tolist()))
        return discriminate(adapter, batch)

    monkeypatch.setattr(UnconditionalAdapter, "discriminate", noted)
    run(small_config(1, dict(ALWAYS, estimator="fresh", pool=3)), tmp_path)
    assert len(seen) == 3


@pytest.mark.parametrize("seed", [None, 11])
def test_all_ranks_draw_alike_and_each_reads_f_for_itself(tmp_path, recorded, monkeypatch, seed):
    draws = torch.rand(18, generator=torch.Generator().manual_seed(seed or 3)).tolist()  # the run's seed is 3
    hook = dict(acceptance=dict(type="random", rate=0.5), estimator="fresh", seed=seed, record=True)
    read = []
    for rank in (0, 1):
        monkeypatch.setattr("minmax_plugin.mmgen.hook.get_dist_info", lambda rank=rank: (rank, 2))
        run(small_config(1, hook), tmp_path / str(rank))
        path = tmp_path / str(rank) / "decisions.jsonl"
        decisions = [json.loads(line) for line in path.read_text().splitlines()]
        assert [d["accepted"] for d in decisions[1:]] == [draw < 0.5 for draw in draws[1:]]
        read.append({d["f_new"] for d in decisions})
    assert not read[0] & read[1]
