"""A config takes the data set of another, and measures that one."""

import pytest
from mmcv import Config
from search_runs import GAUSSIANS, ROOT

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.config import load_config
from minmax_plugin.mmgen.host import set_dataset


def test_another_data_set_replaces_the_old_one_and_its_measurement():
    cfg = load_config(GAUSSIANS)
    set_dataset(cfg, load_config(ROOT / "configs/_base_/datasets/eight_gaussians.py"))
    assert cfg.data.train == dict(type="GaussianMixture", modes=8, radius=1.0, sigma=0.01)
    assert cfg.custom_hooks[0].metrics[0].modes == 8
    assert [h.type for h in cfg.custom_hooks] == ["SampleMetrics", "MinMaxHook"]


MEASURE = dict(type="SampleMetrics", interval=9, metrics=[dict(type="ModeCoverage", modes=4)])


@pytest.mark.parametrize(
    "written", [dict(custom_hooks=[MEASURE]), dict(custom_hooks=[MEASURE], metrics_hook=dict(MEASURE, interval=1))]
)
def test_a_measurement_that_is_written_out_is_replaced_too(written):
    cfg = Config(dict(data=dict(train=dict(type="GaussianMixture")), **written))
    set_dataset(cfg, load_config(ROOT / "configs/_base_/datasets/eight_gaussians.py"))
    assert [hook.metrics[0].modes for hook in cfg.custom_hooks] == [8]


def test_which_of_several_measurements_is_the_data_sets_must_be_said():
    cfg = Config(dict(data=dict(train=dict(type="GaussianMixture")), custom_hooks=[MEASURE, dict(MEASURE, interval=2)]))
    with pytest.raises(ConfigError, match="custom_hooks has 2 entries of type 'SampleMetrics'"):
        set_dataset(cfg, load_config(ROOT / "configs/_base_/datasets/eight_gaussians.py"))
