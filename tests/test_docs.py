"""What the docs say of the code is what the code says."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from families import write_images
from mmcv.runner import HOOKS
from mmgen.models import build_model

from benchmarks.tables import filled
from experiments import __main__ as experiments
from minmax_plugin.cli import certify, doctor, train
from minmax_plugin.mmgen.check import check_config
from minmax_plugin.mmgen.config import SHIPPED, load_config
from minmax_tune import cli as search

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_settings_is_the_code_s():
    made = runpy.run_path(str(DOCS / "make_settings.py"))
    assert made["PAGE"].read_text() == made["page"](), "run python -m docs.make_settings"


@pytest.mark.parametrize("maker", ["make_performance", "make_conclusions"])
def test_a_page_is_made_of_the_measurements(maker):
    for path, parts in runpy.run_path(str(DOCS / f"{maker}.py"))["PARTS"].items():
        assert path.read_text() == filled(path, parts), f"run python -m docs.{maker}"


def test_the_messages_in_troubleshooting_are_the_code_s():
    text = (DOCS / "troubleshooting.md").read_text()
    code = "".join(
        path.read_text() for part in ("minmax_plugin", "tune") for path in (DOCS.parent / part).rglob("*.py")
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # strings over several lines
    messages = re.findall(r"^\*\*`(.+?)`\*\*", text, re.MULTILINE)
    assert len(messages) > 20
    missing = [m for m in messages if not re.search(re.escape(m).replace("'MinMax", ".*"), code)]
    assert not missing


def snippets(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_plain_loop_of_the_guide_runs(capsys):
    loop, by_the_paper, with_schedules, with_a_scaler = snippets("pytorch.md", "python")
    names: dict = {}
    exec(loop, names)
    game = names["game"]
    assert (game.decisions, game.proposals) == (20, 19)
    assert capsys.readouterr().out.endswith(f"{game.accepted} 19\n")
    names["opt_g"].zero_grad()  # as in the first cycle of a training, where torch might warn of the order of calls
    exec(with_schedules, names)
    assert (game.decisions, game.proposals) == (40, 38)
    assert names["opt_g"].param_groups[0]["lr"] == pytest.approx(1e-3 * 0.99**19)
    exec(with_a_scaler, names)
    assert (game.decisions, game.proposals) == (60, 57)
    names["opt_g"].zero_grad()
    exec(by_the_paper, names)
    paper = names["paper"]
    for _ in range(3):
        paper.propose()
        paper.decide()
        names["softplus"](-names["discriminator"](names["generator"](torch.randn(8, 16)))).mean().backward()
    assert (paper.decisions, paper.proposals) == (3, 2)


@pytest.mark.slow
def test_the_commands_of_opting_in_run(tmp_path):
    *parts, _on_several_gpus = snippets("opt-in.md", "bash")  # which the page says is not run
    commands = "".join(parts)
    (tmp_path / "configs").symlink_to(DOCS.parent / "configs")
    pictures = write_images(tmp_path) / "images" / "64"
    few = "total_iters=2 data.samples_per_gpu=2 data.workers_per_gpu=0"
    commands = commands.replace("\\\n", "").replace("PICTURES", f"{pictures} {few}")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command in commands.strip().splitlines():
        # the console scripts of an install are these modules
        command = re.sub(r"^minmax-(\w+)", rf"{sys.executable} -m minmax_plugin.cli.\1", command)
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(DOCS.parent)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = (tmp_path / "mine.py").read_text() if "mine.py" in command else done.stdout + done.stderr
        assert "MinMax" in told


@pytest.mark.slow
def test_a_stock_config_is_tuned_as_the_page_says(tmp_path):
    for part in ("tune", "configs"):
        (tmp_path / part).symlink_to(DOCS.parent / part)
    page = "tuned-stock-config.md"
    commands = re.sub(
        r"^minmax-(\w+)", rf"{sys.executable} -m minmax_plugin.cli.\1", "".join(snippets(page, "bash")), flags=re.M
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(DOCS.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "stock/search/leaderboard.md").read_text()
    assert len(re.findall(r"^\| dcgan \|", table, flags=re.M)) == 6, table
    assert (tmp_path / "stock/search/report.html").exists()
    assert list((tmp_path / "stock/tuned").glob("tf_logs/*"))
    assert "Everything of this run is in" in done.stdout + done.stderr


@pytest.mark.slow
def test_the_example_in_one_file_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, str(DOCS / "examples/plain_gan.py")], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(DOCS.parent), "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert re.fullmatch(
        r"GDA: \d of 8 modes; kept 599 of 599 proposals\nMinMax: \d of 8 modes; kept \d+ of 599 proposals\n",
        done.stdout,
    ), done.stderr
    assert (tmp_path / "plain_gan.png").exists()


@pytest.mark.parametrize("base", ["dcgan/dcgan_mnist-64_b128x1_Glr4e-4_Dlr1e-4_5k.py", "cyclegan"])
def test_the_schedule_of_the_guide_fits_a_stock_config(tmp_path, base):
    opting_in, _, schedule = snippets("opt-in.md", "python")
    found = next(folder / base for folder in SHIPPED if (folder / base).exists())
    found = found if found.is_file() else sorted(found.glob("*.py"))[0]
    lines = [*re.findall(r"custom_imports.*\n", opting_in), schedule]
    player = "generators" if base == "cyclegan" else "generator"
    config = tmp_path / "annealed.py"
    config.write_text(f"_base_ = {str(found)!r}\n" + "".join(lines).replace('"generator"', f'"{player}"'))
    cfg = load_config(config)
    check_config(cfg, paths=False)
    built = HOOKS.build({"type": "OfPlayerLrUpdaterHook", **{k: v for k, v in cfg.lr_config.items() if k != "policy"}})
    assert built.player == player


@pytest.mark.parametrize("line", range(3))
def test_the_penalties_of_the_guide_fit_a_stock_config(tmp_path, line):
    opting_in, penalties, _ = snippets("opt-in.md", "python")
    names, models = penalties.split("model = ", 1)
    chosen = f"model = {models}".splitlines()[line]
    base = "dcgan/dcgan_mnist-64_b128x1_Glr4e-4_Dlr1e-4_5k.py"
    config = tmp_path / "penalised.py"
    found = next(folder / base for folder in SHIPPED if (folder / base).exists())
    config.write_text(
        "\n".join([f"_base_ = {str(found)!r}", *re.findall("custom_imports.*", opting_in), names, chosen])
    )
    cfg = load_config(config)
    check_config(cfg, paths=False)
    model = build_model(cfg.model, train_cfg=cfg.train_cfg)
    assert len(model.disc_auxiliary_losses) == (1, 2, 2)[line]
    optimizers = {
        name: torch.optim.SGD(getattr(model, name).parameters(), 0.1) for name in ("generator", "discriminator")
    }
    logs = model.train_step(dict(real_img=torch.randn(2, 1, 64, 64)), optimizers)["log_vars"]
    wanted = [{"loss_r1_gp"}, {"loss_r1_gp", "loss_r2_gp"}, {"loss_r1_gp", "loss_r2_gp", "loss_gen_pair"}]
    assert wanted[line] <= set(logs)


COMMANDS = {
    "python tune/search.py": search.parse,
    "minmax-train": train.parse_args,
    "minmax-doctor": doctor.parse_args,
    "minmax-certify": certify.parse_args,
    "python -m experiments": experiments.parse,
}


def commands():
    """All commands that the pages and the README name, in blocks and within lines."""
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        text = page.read_text().replace("\\\n", " ")
        for name in COMMANDS:
            for found in re.findall(rf"{re.escape(name)}(?![\w-]|\.\w)([^`#|>;&\n]*)", text):
                yield name, found.strip()


def test_every_command_that_is_named_can_be_given():
    seen = set()
    for name, given in commands():
        words = shlex.split(given.replace("[CONFIG ...]", "").replace("EXPERIMENT METHOD", "four_gaussians practical"))
        if name.startswith("minmax-") and (not words or words[0].startswith("-")):
            words = ["CONFIG", *words]  # an option that is spoken of
        if name == "minmax-certify" and len(words) == 1:
            words.append("CHECKPOINT")
        try:
            COMMANDS[name](words)
        except (SystemExit, ValueError) as error:
            if "--help" in words:
                continue
            pytest.fail(f"{name} {given}: {error}")
        seen.add(name)
    assert seen == set(COMMANDS)


def test_the_lines_that_opt_in_are_the_readme_s():
    ours, *_ = snippets("opt-in.md", "python")
    assert ours in (DOCS.parent / "README.md").read_text()
