"""The parts that the toolkit's own resume leaves out: changed settings of the config, and the best score."""

from __future__ import annotations

import ast
import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcv import Config
from mmcv.runner import HOOKS, Hook
from mmgen.core.evaluation import GenerativeEvalHook
from mmgen.core.optimizer import build_optimizers

from minmax_plugin.mmgen.adapters import find_adapter
from minmax_plugin.mmgen.optimizers import PREFIX
from minmax_plugin.mmgen.run_state import bare
from minmax_plugin.openmmlab import minmax_settings

BASES = {"lr": "initial_lr", "betas": "initial_momentum", "momentum": "initial_momentum"}
"""Settings that a schedule moves, and the keys under which mmcv's hooks keep their initial values."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """The contents of a checkpoint besides its weights.

    Args:
        meta: The checkpoint's ``meta``.
        has_optimizer: Whether it holds the states of optimizers.
        minmax: Whether it holds the state of :class:`MinMaxHook`.
    """

    meta: Mapping[str, Any]
    has_optimizer: bool
    minmax: bool = False

    @property
    def config(self) -> dict[str, Any] | None:
        """The settings that it was trained with, or ``None`` where they are not saved or cannot be read."""
        try:
            return read_settings(self.meta["config"])
        except (KeyError, SyntaxError, TypeError, ValueError):
            return None


@HOOKS.register_module()
class Resume(Hook):
    """Completes the toolkit's resume, before a resumed run begins. ``minmax-train`` adds it.

    The toolkit restores an optimizer's settings with its state, so a lowered rate has no effect. Here a setting that
    the config has changed since is used. The best score so far is restored too, so only a better one replaces its
    file.

    Args:
        cfg: The config of the resumed run.
        saved: The checkpoint from which it resumes.
    """

    reads_weights = False

    def __init__(self, cfg: Config, saved: Saved) -> None:
        self._cfg, self._saved = cfg, saved

    def before_run(self, runner: Any) -> None:
        if runner.iter >= self._cfg.total_iters:
            runner.logger.warning(
                "nothing is left to train: %s is of iteration %s, and total_iters=%s",
                *(self._cfg.resume_from, runner.iter, self._cfg.total_iters),
            )
        if not self._saved.has_optimizer:
            runner.logger.warning(
                "%s holds no optimizer states (checkpoint_config.save_optimizer=False): the moments start again, and "
                "under MinMaxHook f, the incumbent and the counts of decisions too",
                self._cfg.resume_from,
            )
        if self._saved.minmax and minmax_settings(self._cfg) is None:
            runner.logger.warning(
                "%s was trained by MinMax, and continues without it: give --minmax to continue as it began",
                self._cfg.resume_from,
            )
        self._restore_best(runner)
        if self._saved.has_optimizer and isinstance(runner.optimizer, Mapping):
            self._use_changed_settings(runner)

    def _restore_best(self, runner: Any) -> None:
        messages = runner.meta.setdefault("hook_msgs", {})
        messages.update(self._saved.meta.get("hook_msgs", {}))
        for hook in runner.hooks:
            if not (isinstance(hook, GenerativeEvalHook) and hook.save_best_ckpt):
                continue
            for name in hook.best_metric:
                if (score := messages.get(f"best_score_{name}")) is not None:
                    hook._curr_best_score[name] = score
                    path = Path(runner.work_dir) / Path(messages.get(f"best_ckpt_{name}") or "none").name
                    # the toolkit deletes this file once it is beaten, so it must be this run's own
                    hook._curr_best_ckpt_path[name] = str(path) if path.is_file() else None

    def _use_changed_settings(self, runner: Any) -> None:
        if (before := self._saved.config) is None:
            runner.logger.warning("the checkpoint does not tell its config: optimizer settings are the checkpoint's")
            return
        earlier, present = (_groups(runner.model, cfg) for cfg in (Config(before), self._cfg))
        for player, optimizer in runner.optimizer.items():
            trios = zip(optimizer.param_groups, earlier.get(player, []), present.get(player, []), strict=False)
            for group, old, new in trios:
                for name in new.keys() & old.keys() - {"params"}:
                    if new[name] != old[name]:
                        change_setting(group, name, new[name])
                        runner.logger.info(
                            "optimizer.%s.%s is %r from now on; it was %r", player, name, new[name], old[name]
                        )


def change_setting(group: dict[str, Any], name: str, value: Any) -> None:
    """Give a parameter group another setting, and to the schedule that moves it another start.

    Examples:
        >>> group = dict(lr=0.02, initial_lr=0.2)  # a schedule is at a tenth
        >>> change_setting(group, "lr", 0.1)
        >>> round(group["lr"], 3), group["initial_lr"]
        (0.01, 0.1)
    """
    base = BASES.get(name, "")
    if base not in group:
        group[name] = value
        return
    start = value[0] if name == "betas" else value
    moved, group[base] = group[base], start
    if name == "lr" and moved:
        group["lr"] = start * group["lr"] / moved
    elif name == "betas":
        group["betas"] = (group["betas"][0], *value[1:])  # the schedule sets the first one in each iteration


def _groups(model: Any, cfg: Config) -> dict[str, list[dict[str, Any]]]:
    """Make each player's parameter groups as a config has them, without any state."""
    model = bare(model)
    kind = find_adapter(type(model))
    entries = kind.optimizers_now(cfg, model) if kind else cfg.get("optimizer") or {}
    optimizers = build_optimizers(model, copy.deepcopy({name: dict(entry) for name, entry in entries.items()}))
    return {name: optimizer.param_groups for name, optimizer in optimizers.items()}


def optimizer_types(cfg: Mapping[str, Any], model: Any) -> dict[str, str]:
    """Return the type of each player's optimizer, without the prefix of MinMax."""
    kind = find_adapter(type(bare(model)))
    entries = (kind.optimizers_in(cfg) if kind else None) or {}
    types = {path.rpartition(".")[2]: (entry or {}).get("type") for path, entry in entries.items()}
    return {player: str(name).removeprefix(PREFIX) for player, name in types.items() if name}


def read_settings(text: str) -> dict[str, Any]:
    """Read the settings in a config's text, as the toolkit writes it. Nothing in it is executed.

    Raises:
        SyntaxError, ValueError: If the text has another form.

    Examples:
        >>> read_settings("optimizer = dict(lr=1e-3, betas=(0.5, 0.9))")
        {'optimizer': {'lr': 0.001, 'betas': (0.5, 0.9)}}
    """
    return {
        statement.targets[0].id: _value(statement.value)
        for statement in ast.parse(text).body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name("dict"), args=args, keywords=keywords):
            named = {keyword.arg: _value(keyword.value) for keyword in keywords}
            return dict(*map(_value, args)) | named
        case ast.Call(func=ast.Name("float"), args=[ast.Constant(str() as number)]):
            return float(number)
        case ast.Dict(keys=keys, values=values):
            return {_value(key): _value(value) for key, value in zip(keys, values, strict=True) if key}
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(map(_value, items))
    return ast.literal_eval(node)
