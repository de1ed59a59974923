"""Search spaces that are refused, each with one clear error."""

import re

import pytest
import yaml
from spaces import config, yaml_space

from minmax_plugin.errors import SpaceError
from minmax_tune.space.space import Space


def test_a_number_that_yaml_reads_as_text_is_refused():
    space = Space.load(yaml.safe_load("space: {optimizer.generator.lr: {type: choice, options: [1e-4, 1.0e-3]}}"))
    with pytest.raises(SpaceError, match=r"lr='1e-4' is text where the config has the number .*: write 0.0001"):
        space.check({"gda": config("four_gaussians_gda")})


@pytest.mark.parametrize("bounds", [dict(type="int", low=-1, high=3), dict(type="int", low=0, high=2**32)])
def test_a_seed_that_no_training_takes_is_refused(bounds):
    with pytest.raises(
        SpaceError, match=r"space.s .*seed=(-1|4294967296) must be a whole number from 0 to 2\*\*32 - 1"
    ):
        yaml_space(s={**bounds, "keys": ["seed"]}).check({"mine": config()})
    yaml_space(s={**bounds, "low": 0, "high": 2**32 - 1, "keys": ["seed"]}).check({"mine": config()})


BAD_PYTHON = [
    ("1 +", "it cannot be run: SyntaxError"),
    ("import nothing_of_this_name", "it cannot be run: ModuleNotFoundError"),
    ("x = 1", r"it must define space\(trial\)"),
    ("POINTS = {}\ndef space(trial): return {}", "POINTS must be a list of dicts, but got {}"),
    ("def space(trial):\n    return {}[1]", r"space\(trial\) failed in line 2: KeyError: 1"),
    ("def space(trial): return [1]", r"must return a dict of settings by path, but returned \[1\]"),
    ("def space(trial): return {'total_iters': {1, 2}}", "must return numbers, strings, lists and dicts"),
    ("def space(trial): return {'total_iter': 1}", "no setting 'total_iter'; did you mean 'total_iters'"),
    (
        "POINTS = [{'n': 9}]\ndef space(trial): return {'total_iters': trial.suggest_int('n', 1, 3)}",
        "points: n=9 is not among 1 to 3",
    ),
]


@pytest.mark.parametrize(("source", "message"), BAD_PYTHON, ids=[m for _, m in BAD_PYTHON])
def test_a_malformed_python_space_is_one_clear_error(tmp_path, source, message):
    (tmp_path / "space.py").write_text(source)
    with pytest.raises(SpaceError, match=message) as error:
        Space.read(tmp_path / "space.py").check({"mine": config()})
    assert "\n" not in str(error.value)


LR = {"optimizer.generator.lr": {"type": "float", "low": "1e-4", "high": 1e-3, "log": True}}
A = {"type": "choice", "options": [1, 2]}
MALFORMED = [
    ({}, "space: Field required"),
    ([1], r"it must hold space: and its entries by name, but has \[1\]"),
    (None, "it must hold space: and its entries by name, but has None"),
    ({"space": {}}, "space: Dictionary should have at least 1 item"),
    ({"spaces": LR}, "space: Field required"),
    ({"space": LR, "point": []}, "point: Extra inputs are not permitted"),
    ({"space": {"a": {"low": 0, "high": 1}}}, "space.a: Unable to extract tag using discriminator 'type'"),
    ({"space": {"a": {"type": "flot", "low": 0, "high": 1}}}, "space.a: Input tag 'flot' .* does not match any"),
    ({"space": {"a": {"type": "float", "low": 1, "high": 1}}}, "low=1.0 must be below high=1.0"),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "log": True}}}, "low=0.0 must be above 0 with log: true"),
    ({"space": {"a": {"type": "float", "low": "x", "high": 1}}}, "space.a.float.low: Input should be a valid number"),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "step": -1}}}, "step=-1.0 must be above 0"),
    (
        {"space": {"a": {"type": "int", "low": 1, "high": 4, "step": 2, "log": True}}},
        "step and log: true exclude each other",
    ),
    ({"space": {"a": {"type": "int", "low": 0.5, "high": 2}}}, "space.a.int.low: Input should be a valid integer"),
    ({"space": {"a": {"type": "float", "low": 0, "high": float("inf")}}}, "space.a.float.high: .* finite .*got inf"),
    ({"space": {"a": {"type": "float", "low": float("nan"), "high": 1}}}, "space.a.float.low: .* finite .*got nan"),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "step": float("inf")}}}, "space.a.float.step: .* finite"),
    ({"space": {"a": {"type": "int", "low": 0, "high": float("inf")}}}, "space.a.int.high: .* finite .*got inf"),
    ({"space": {"a": {"type": "choice", "options": []}}}, "space.a.choice.options: List should have at least 1 item"),
    ({"space": {"a": {"type": "choice", "options": [[1]]}}}, r"options.0: it must be a number, text, .* \(got \[1\]"),
    ({"space": {"a": {"type": "choice", "options": [float("nan")]}}}, r"options.0: it must be finite \(got nan\)"),
    ({"space": {"a": {"type": "choice", "options": [2, 1, True]}}}, "options: True equals an earlier option, 1"),
    (
        {"space": {"a": {"type": "float", "low": -1e308, "high": 1e308}}},
        "low=-1e.308 and high=1e.308 are too far apart",
    ),
    ({"space": {"a": {"type": "float", "low": True, "high": 2}}}, r"float.low: it must be a number \(got True\)"),
    ({"space": {"a": {"type": "int", "low": 0, "high": 2, "step": True}}}, r"int.step: it must be a number \(got True"),
    (
        {"space": {"a": {"type": "int", "low": 0, "high": 10**20}}},
        "int.high: Input should be less than or equal to 9007",
    ),
    (
        {"space": {"a": {"type": "float", "low": 0, "high": 1, "step": 2}}},
        "step=2.0 must fit 1 to 2.*53 times between low=0.0 and high=1.0",
    ),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "step": 1e-300}}}, "step=1e-300 must fit 1 to 2"),
    ({"space": {"a": A, "b": {**A, "when": {"a": []}}}}, "when.a: an empty list allows no value"),
    ({"space": {"a": A, "b": {**A, "when": {"a": [[1]]}}}}, "when.a: it must be a number, text"),
    ({"space": {"a": A}, "points": [{"a": [1]}]}, "points.0.a: it must be a number, text"),
    ({"space": {"a": {"type": "fragments", "options": {"b": 1}}}}, "options.b: Input should be a valid dictionary"),
    ({"space": {"a": {"type": "float", "low": 0, "high": 1, "setp": 1}}}, "space.a.float.setp: Extra inputs"),
    ({"space": {"b": {**A, "when": {"a": 1}}}}, "space.b.when names 'a', which is no earlier"),
    ({"space": {"aa": A, "b": {**A, "when": {"ab": 1}}}}, "space.b.when names 'ab', .*; did you mean 'aa'"),
    ({"space": {"a": A, "b": {**A, "when": {"a": 3}}}}, "space.b.when: 'a' never is 3; it has"),
]


@pytest.mark.parametrize(("content", "message"), MALFORMED, ids=[m for _, m in MALFORMED])
def test_a_malformed_space_is_one_clear_error(tmp_path, content, message):
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SpaceError, match=message) as error:
        Space.read(tmp_path / "space.yaml")
    assert "\n" not in str(error.value)


WRITTEN = [
    (
        "space:\n  a: {type: choice, options: [1, 2]}\n  a: {type: choice, options: [3, 4]}",
        ", line 3: 'a' is there twice",
    ),
    ("space: {a: {type: int, low: 1, high: 3, low: 2}}", ", line 1: 'low' is there twice"),
    ("points: []\nspace: {}\npoints: []", ", line 3: 'points' is there twice"),
    ("space: {a: {type: fragments, options: {yes: {total_iters: 3}}}}", ", line 1: a name must be text: quote it"),
    ("space: {1: {type: int, low: 1, high: 3}}", ", line 1: a name must be text: quote it"),
    ("space: {a: !!set {b}}", "no valid YAML: ConstructorError: could not determine a constructor for the tag"),
    ("", "it must hold space: and its entries by name, but has None"),
    (b"\xff\xfe\x00", "is no text file in UTF-8: invalid start byte"),
]


@pytest.mark.parametrize(("text", "message"), WRITTEN)
def test_a_file_that_cannot_be_read_as_it_is_written_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / "space.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpaceError, match=f"^space file '{path}'.*{message}") as error:
        Space.read(path)
    assert "\n" not in str(error.value)


def test_a_python_space_that_is_no_text_is_one_clear_error(tmp_path):
    (tmp_path / "space.py").write_bytes(bytes(range(256)))
    with pytest.raises(SpaceError, match="space.py' is no text file in UTF-8"):
        Space.read(tmp_path / "space.py")


def test_the_value_in_an_error_is_shortened(tmp_path):
    levels = [f"{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]" for level in range(1, 8)]
    levels = [line.replace(":", "_:", 1) for line in levels]  # a name is text
    (tmp_path / "space.yaml").write_text("\n".join(["a: &l0 [1, 1]", *levels]))  # millions of items, if written out
    with pytest.raises(SpaceError) as error:
        Space.read(tmp_path / "space.yaml")
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "+1.e-3", "0.1e-2", "1.0e-3"])
def test_a_number_is_one_wherever_it_is_written(tmp_path, number):
    lr = "optimizer.generator.lr"
    (tmp_path / "space.yaml").write_text(
        f"space:\n  {lr}: {{type: choice, options: [{number}, 2.0e-3]}}\n"
        f"  total_iters: {{type: int, low: 1, high: 9, when: {{{lr}: {number}}}}}\n"
        f"  b: {{type: fragments, options: {{x: {{optimizer.discriminator.lr: {number}}}}}}}\n"
        f"points: [{{{lr}: {number}}}]\n"
    )
    space = Space.read(tmp_path / "space.yaml")
    space.check({"mine": config("four_gaussians_gda")})
    assert space.points == [{lr: 1e-3}]


TWO = {**LR, "method": {"type": "fragments", "options": {"minmax": {}, "gda": {"minmax": False}}}}
WHOLE = {"total_iters": {"type": "int", "low": 1, "high": 9}}
STEPS = {"optimizer.generator.lr": {"type": "float", "low": 0, "high": 1, "step": 0.25}}
RESTORE = {"minmax.restore": {"type": "choice", "options": ["both", "generator"], "when": {"method": "minmax"}}}
BAD_POINTS = [
    (LR, {"optimizer.generator.l": 1}, "points: 'optimizer.generator.l' is no entry .* did you mean"),
    (LR, {"optimizer.generator.lr": 1}, "points: optimizer.generator.lr=1 is not among 0.0001 to 0.001"),
    (LR, {"optimizer.generator.lr": True}, "points: optimizer.generator.lr=True is not among"),
    (WHOLE, {"total_iters": 2.5}, "points: total_iters=2.5 is not among 1 to 9 in steps of 1"),
    (STEPS, {"optimizer.generator.lr": 0.3}, "points: optimizer.generator.lr=0.3 is not among 0.0 to 1.0 in steps of"),
    (TWO, {"method": "gad"}, r"points: method='gad' is not among \['minmax', 'gda'\]"),
    (
        TWO | RESTORE,
        {"method": "gda", "minmax.restore": "both"},
        "'minmax.restore' has no effect at .*: its conditions",
    ),
]


@pytest.mark.parametrize(("space", "point", "message"), BAD_POINTS)
def test_a_point_that_is_not_in_the_space_is_named(space, point, message):
    with pytest.raises(SpaceError, match=message):
        Space.load({"space": space, "points": [point]}).check({"mine": config()})


UNFIT = [
    ("minmax.restore", "restore must be one of .*, but got 0.1"),
    ("minmax.acceptance.rate.x", "acceptance 'constant' takes .* but got \\['rate.x'\\]"),
    ("minmax.estimator.speed", "estimator 'paired' takes"),
    ("minmax", "'minmax' is true or false, but got 0.1"),
    ("optimizer.generator.lrr", "no setting 'optimizer.generator.lrr'; did you mean 'optimizer.generator.lr'"),
    ("optimiser.generator.lr", "did you mean 'optimizer'"),
    ("optimizer.generator.betas.2", "no setting 'optimizer.generator.betas.2'"),
    ("minmax.acceptance.speed", "acceptance 'constant' takes"),
    ("minmax.restor", "restor=0.1 is no setting of MinMax; the nearest is 'restore'"),
]


@pytest.mark.parametrize(("path", "message"), UNFIT)
def test_a_path_that_is_not_in_the_config_is_named(path, message):
    space = Space.load({"space": {path: {"type": "float", "low": 0.1, "high": 0.2}}})
    with pytest.raises(SpaceError, match=f"space.{re.escape(path)} does not fit config mine: .*{message}"):
        space.check({"mine": config()})


def test_every_value_of_an_entry_is_tried():
    fragments = {"a": {}, "b": {"minmax.restore": "neither"}}
    for entry in (
        {"minmax.restore": {"type": "choice", "options": ["both", "generatr"]}},
        {"minmax.acceptance.rate": {"type": "float", "low": 0.1, "high": 1.7}},
        {"method": {"type": "fragments", "options": fragments}},
    ):
        with pytest.raises(SpaceError, match="does not fit config mine"):
            Space.load({"space": entry}).check({"mine": config()})


def test_values_that_do_not_go_together_are_found():
    space = {
        "method": {"type": "fragments", "options": {"minmax": {}, "gda": {"minmax": False}}},
        "minmax.restore": {"type": "choice", "options": ["both"]},
    }
    with pytest.raises(SpaceError, match="does not fit config mine at .*'gda'.*: 'minmax.restore' has no effect"):
        Space.load({"space": space}).check({"mine": config()})
    space = {"a": {**A, "keys": ["total_iters"]}, "b": {**A, "keys": ["total_iters"]}}
    with pytest.raises(SpaceError, match="space.b sets 'total_iters', which an earlier entry sets"):
        Space.load({"space": space}).check({"mine": config()})


def test_a_missing_file_is_named():
    with pytest.raises(SpaceError, match="space file 'nowhere.yaml' does not exist"):
        Space.read("nowhere.yaml")


def test_nothing_in_a_yaml_file_is_executed(tmp_path):
    touched = tmp_path / "executed"
    (tmp_path / "space.yaml").write_text(f"space: !!python/object/apply:os.system ['touch {touched}']")
    with pytest.raises(SpaceError, match="no valid YAML"):
        Space.read(tmp_path / "space.yaml")
    assert not touched.exists()


def test_a_space_has_to_fit_every_config():
    space = Space.load({"python": "def space(trial): return {'minmax.restore': 'both'}"})
    with pytest.raises(SpaceError, match="does not fit config second"):
        space.check({"first": config(), "second": config("mnist01_gda")})
