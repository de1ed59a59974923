"""MinMaxSettings: the one place that knows which settings exist, what they may be and what they mean."""

import dataclasses

import pytest

from minmax_plugin import Annealed, ConstantRate, MinMaxSettings, Outlier, Restore
from minmax_plugin.released import Periodic
from minmax_plugin.settings import PRESETS, RENAMED, EstimatorSettings, present_settings

MEANT = {
    "outlier": (Outlier(), Restore(), EstimatorSettings("paired", fraction=0.125, hold=8), False),
    "practical": (ConstantRate(), Restore(), EstimatorSettings("paired", fraction=0.25, hold=8), False),
    "paper": (Annealed(), Restore(), EstimatorSettings("paired", fraction=0.25, hold=8), False),
    "released-gaussians": (
        Periodic(every=4, reverse=True),
        Restore(max_player=False, moments=False, buffers=False),
        EstimatorSettings("last"),
        True,
    ),
    "released-mnist": (Periodic(every=5), Restore(moments=False, buffers=False), EstimatorSettings("fresh"), False),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_what_it_says(preset):
    settings = MinMaxSettings(preset=preset)
    update = settings.get("update_reference_on_reject")
    assert (settings.policy, settings.restored, settings.estimated, update) == MEANT[preset]
    assert settings.to_dict() == ({} if preset == "outlier" else {"preset": preset})
    written_out = MinMaxSettings.from_dict(settings.resolved)
    assert written_out.meaning == settings.meaning


BAD = [
    (dict(preset=["paper"]), r"preset must be one of .* but got \['paper'\]"),
    (dict(estimator=dict(type=["last"])), "estimator must be one of"),
    (dict(preset="released"), "preset must be one of .* but got 'released'"),
    (dict(estimator=dict(type="last", batches=2)), r"estimator 'last' takes \[\], but got \['batches'\]"),
    (dict(estimator=dict(type="paired", reread=True)), r"estimator 'paired' takes \['batches', 'fraction', 'hold'\]"),
    (dict(estimator=dict(type="fresh", fraction=0)), "fraction must be above 0 and at most 1, but got 0"),
    (dict(estimator=dict(type="fresh", batches="2")), "batches must be 1 or more, but got '2'"),
    (dict(estimator=3), "estimator must be a name, or a dict with a type, but got 3"),
    (dict(acceptance=["strict"]), r"acceptance must be .*, but got \['strict'\]"),
    (dict(restore="all"), r"restore must be one of \['both', 'generator'\], but got 'all'"),
    (dict(restore_moments="false"), "restore_moments must be True or False, but got 'false'"),
    (dict(ascent_steps=0), "ascent_steps must be 1 or more, but got 0"),
    (dict(ascent_tolerance=0), "ascent_tolerance must be above 0, but got 0"),
    (dict(patience="3"), "patience must be 1 or more rejections, or None, but got '3'"),
    (dict(on_patience="run"), "on_patience must be one of"),
    (dict(acceptance=dict(type="periodic", every=0)), "every must be 1 or more decisions, but got 0"),
    (dict(max_nonfinite=0), "max_nonfinite must be 1 or more, but got 0"),
    (dict(pool="8"), "pool must be 1 batch or more, but got '8'"),
    (dict(seed="1"), r"seed must be a whole number from 0 to 2\*\*32 - 1, or None, but got '1'"),
    (dict(estimator="last", acceptance="significant"), "estimator='last' has no standard error, by which"),
    (dict(restor="both"), "restor='both' is no setting of MinMax; the nearest is 'restore'"),
    (dict(acceptance=dict(type="strict", slack=0.1)), "got .'slack'.: slack is named min_decrease now"),
    *(({old: 1}, f"{old}=1: this setting is named {new!r} now") for old, new in RENAMED.items() if old != "slack"),
]


@pytest.mark.parametrize(("entry", "message"), BAD, ids=[str(entry) for entry, _ in BAD])
def test_a_bad_setting_is_one_error_that_names_it(entry, message):
    with pytest.raises(ValueError, match=message):
        MinMaxSettings.from_dict(entry)


SET = [  # the settings before, a path and its value, and the settings after
    ({}, "restore", "generator", {"restore": "generator"}),
    ({}, "acceptance.window", 50, {"acceptance": {"type": "outlier", "window": 50}}),
    ({"acceptance": "strict"}, "acceptance.min_decrease", 0.1, {"acceptance": {"type": "strict", "min_decrease": 0.1}}),
    ({"acceptance": {"rate": 0.3}}, "acceptance.type", "strict", {"acceptance": {"type": "strict"}}),
    ({"acceptance": {"type": "strict", "min_decrease": 0.1}}, "acceptance.type", "strict", "as it was"),
    ({"preset": "released-mnist"}, "estimator.batches", 2, {"estimator": {"type": "fresh", "batches": 2}}),
    ({"estimator": "paired"}, "estimator.fraction", 0.5, {"estimator": {"type": "paired", "fraction": 0.5}}),
]


@pytest.mark.parametrize(("before", "path", "value", "after"), SET)
def test_a_setting_is_set_and_read_by_its_path(before, path, value, after):
    settings = MinMaxSettings.from_dict(before)
    changed = settings.with_setting(path, value)
    assert changed.to_dict() == (before if after == "as it was" else {**before, **after})
    assert changed.get(path) == value
    assert settings.to_dict() == before  # frozen


def test_a_path_that_leads_nowhere_is_named():
    settings = MinMaxSettings()
    for path, message in (("restore.x", "'restore' has no settings of its own"), ("acceptance.speed", "takes")):
        with pytest.raises(ValueError, match=message):
            settings.with_setting(path, 1)
    for path in ("speed", "acceptance.speed"):
        with pytest.raises(KeyError):
            settings.get(path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.pool = 3


def test_the_names_of_version_0_1_0_have_present_ones():
    old = {"value": {"type": "fresh"}, "track": True, "r_max": 3, "escape": "accept", "guard": True}
    assert MinMaxSettings.from_dict(present_settings(old)).patience == 3
