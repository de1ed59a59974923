"""The matrix: each family of stock configs opts in, trains, saves, resumes and samples as before."""

import pytest
from exact import assert_identical
from families import FAMILIES, load, write_images
from mmcv.runner import HOOKS, Hook, load_checkpoint
from mmgen.models import build_model
from mmgen_runs import by_command, checkpoint, losses, run

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.check import check_config
from minmax_plugin.mmgen.config import load_config, opt_in
from minmax_plugin.mmgen.doctor import examine

pytestmark = [  # third parties': what the stock configs and the toolkit's own calls bring about
    pytest.mark.filterwarnings("ignore:.*Unnecessary conv bias before batch/instance norm"),
    pytest.mark.filterwarnings("ignore:.*torch.cuda.amp.GradScaler:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.meshgrid:UserWarning"),
    pytest.mark.filterwarnings("ignore:torch.cuda.amp.GradScaler is enabled, but CUDA is not available:UserWarning"),
]

SAVE, END = 13, 16  # SAVE lies within a cycle for each k above 1
ALWAYS_TESTED = ("DCGAN", "SNGAN-proj", "PGGAN", "pix2pix")  # one of each kind; the rest is `make matrix`
SEEN: list[tuple[float, float]] = []


@HOOKS.register_module()
class GeneratorOnlooker(Hook):
    """Notes the generators' weights as the hooks of the toolkit see them, and those of their average."""

    def after_train_iter(self, runner):
        model = runner.model.module
        network = getattr(model, "generator", None) or model.generators
        averaged = getattr(model, "generator_ema", network)
        SEEN.append(tuple(sum(p.detach().double().sum().item() for p in n.parameters()) for n in (network, averaged)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data"))


def params():
    marks = {True: [], False: [pytest.mark.matrix, pytest.mark.timeout(900)]}
    return [pytest.param(f, marks=marks[bool(f.refused) or f.name in ALWAYS_TESTED], id=f.name) for f in FAMILIES]


@pytest.mark.parametrize("family", params())
def test_a_stock_config_opts_in(family, data, tmp_path, capsys, record_property):
    def config(name, resume_from=None, **settings):
        cfg = load(family, data, tmp_path / name)
        cfg.checkpoint_config.interval = SAVE
        cfg.total_iters = END if resume_from else 20
        cfg.resume_from = resume_from and str(next((tmp_path / resume_from).glob(f"**/iter_{SAVE}.pth")))
        if settings:
            opt_in(cfg, **settings)
        return cfg

    def trained(name, **settings):
        return run(config(name, **settings), tmp_path / name, train=by_command)

    record_property("row", FAMILIES.index(family))
    record_property("family", family.name)
    record_property("note", family.note)
    if family.refused:
        with pytest.raises(ConfigError, match=family.refused) as refusal:
            check_config(load_config(family.config), paths=False)
        assert examine(load_config(family.config)).reason == str(refusal.value)
        record_property("opts in", "no")
        return
    assert examine(load_config(family.config)).drives
    record_property("opts in", "yes")

    plain = trained("plain")
    assert len(plain) == 20
    assert losses(trained("always", acceptance="always")) == losses(plain)  # to the last bit
    weights = [checkpoint(tmp_path / name, 20)["state_dict"] for name in ("always", "plain")]
    # Its buffers too, but for SinGAN's: the generator's steps move batch statistics, and the last are an open proposal.
    moved = [
        k
        for k in weights[0]
        if k.startswith("discriminator") and not (family.unresumable and ("running_" in k or "num_batches" in k))
    ]
    assert_identical(*([w[k] for k in moved] for w in weights))
    assert {len(list((tmp_path / name).glob("**/*.png"))) > 0 for name in ("plain", "always")} == {True}
    record_property("trains", "yes")
    record_property("always is stock", "yes")

    # With "never" the generator only moves where a stage ends, so whoever sees it move saw an open proposal.
    cfg = config("never", acceptance="never", estimator="fresh")
    cfg.total_iters = END
    cfg.custom_hooks.append(dict(type="GeneratorOnlooker", priority="VERY_HIGH"))
    SEEN.clear()
    never = run(cfg, tmp_path / "never")
    assert {"initial", "never"} <= {line["reason"] for line in never if "reason" in line}
    assert len(SEEN) == END
    generators = [generator for generator, _ in SEEN]
    assert len(set(generators)) == family.stages
    first = generators.count(generators[0])  # iterations of the first stage
    assert all(average == generator for generator, average in SEEN[:first])
    model = build_model(cfg.model, train_cfg=cfg.get("train_cfg"), test_cfg=cfg.get("test_cfg"))
    record_property("averages see", "incumbents" if hasattr(model, "generator_ema") else "(has none)")

    # The checkpoint is the toolkit's own: without the plugin it loads, and the plain config goes on from it.
    (path,) = (tmp_path / "never").glob(f"**/iter_{SAVE}.pth")
    load_checkpoint(model, str(path), map_location="cpu", strict=True, logger="silent")
    if family.unresumable:
        for name, settings in (("plain again", {}), ("never again", dict(acceptance="never", estimator="fresh"))):
            with pytest.raises(SystemExit, match="2"):
                trained(name, resume_from="never", **settings)
            assert family.unresumable in capsys.readouterr().err.splitlines()[-1]
        record_property("resumes", "no")
        return
    resumed = trained("again", resume_from="never", acceptance="never", estimator="fresh")
    assert losses(resumed) == losses(never[SAVE:])  # to the last bit
    assert_identical(
        checkpoint(tmp_path / "again", END)["state_dict"], checkpoint(tmp_path / "never", END)["state_dict"]
    )
    record_property("resumes", "to the last bit")
    if not family.slow:
        assert trained("plain from ours", resume_from="never")[-1]["iter"] == END
        assert trained("ours from plain", resume_from="plain", preset="practical")[-1]["iter"] == END
