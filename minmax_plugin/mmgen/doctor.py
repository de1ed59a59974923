"""Reports of what MinMax will do with a config: whether it can drive it, in which order, for how much memory."""

from __future__ import annotations

import copy
import dataclasses
import logging
from typing import Any

import torch
from mmcv import Config
from mmcv.runner import CheckpointHook, build_runner
from mmgen.core.optimizer import build_optimizers
from torch import nn

from minmax_plugin.errors import ConfigError
from minmax_plugin.mmgen.adapters import GameAdapter, adapter_of
from minmax_plugin.mmgen.check import check_config
from minmax_plugin.mmgen.config import opt_in
from minmax_plugin.mmgen.hook import MinMaxHook
from minmax_plugin.mmgen.train import build_network
from minmax_plugin.openmmlab import minmax_settings
from minmax_plugin.settings import MinMaxSettings

MIB = 2**20


@dataclasses.dataclass
class Verdict:
    """What MinMax can do with a config.

    Args:
        drives: Whether MinMax can drive it.
        reason: Why not, or how.
        order: The steps of one iteration of the runner.
        memory: The MiB of memory, by their contents.
    """

    drives: bool
    reason: str
    order: list[str] = dataclasses.field(default_factory=list)
    memory: dict[str, float] = dataclasses.field(default_factory=dict)


def hardware() -> list[str]:
    """Describe the hardware that PyTorch can compute on, a line each."""
    lines = [f"CPU: {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        lines.append(
            f"GPU {index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB, bfloat16 "
            f"{'yes' if torch.cuda.is_bf16_supported() else 'no'}"
        )
    return lines if len(lines) > 1 else [*lines, "GPU: none that PyTorch can use"]


def examine(cfg: Config) -> Verdict:
    """Say whether MinMax can drive a config, and how, without training it.

    A config that has not opted in is examined as ``minmax-train --minmax`` would train it.

    Args:
        cfg: The merged config.

    Examples:
        >>> examine(Config(dict(model=dict(type="BasicGaussianDiffusion")))).reason
        "model.discriminator is missing: min-max training needs a discriminator; give the model one, or train ..."
    """
    cfg = copy.deepcopy(cfg)
    try:
        if minmax_settings(cfg) is None:
            opt_in(cfg)
        check_config(cfg, paths=False)
        model = build_network(cfg)
        adapter = adapter_of(model)
        order = _order(cfg, model, adapter)
        settings = MinMaxSettings.from_dict(minmax_settings(cfg) or {})
        memory = _memory(cfg, adapter, settings)
    except ConfigError as error:
        return Verdict(False, str(error))
    except Exception as error:  # any error of the toolkit's, as for a name that it does not know
        return Verdict(False, f"the toolkit cannot build it: {error}")
    steps = "" if adapter.generator_steps == 1 else f", {adapter.generator_steps} generator steps to a proposal"
    reason = f"k = {adapter.ascent_steps}{steps}; f is read by {settings.estimated.type!r}"
    return Verdict(True, reason, order, memory)


def _order(cfg: Config, model: nn.Module, adapter: GameAdapter) -> list[str]:
    """Describe one iteration of the toolkit's runner, with the hooks in the config."""
    logger = logging.getLogger("minmax-doctor")
    optimizers = build_optimizers(model, copy.deepcopy(cfg.optimizer)) if cfg.get("optimizer") else None
    settings = dict(cfg.get("runner") or dict(type="IterBasedRunner"), is_dynamic_ddp=False)
    if settings["type"] == "IterBasedRunner":
        settings.pop("is_dynamic_ddp")
    runner = build_runner(settings, dict(model=model, optimizer=optimizers, work_dir=".", logger=logger, meta={}))
    cfg = copy.deepcopy(cfg)
    runner.register_training_hooks(
        cfg.get("lr_config"),
        checkpoint_config=cfg.get("checkpoint_config"),
        log_config=cfg.get("log_config"),
        custom_hooks_config=list(cfg.get("custom_hooks") or []),
    )
    saving = [h for h in runner.hooks if isinstance(h, CheckpointHook)]
    others = [h for h in runner.hooks if not isinstance(h, (CheckpointHook, MinMaxHook))]
    fetching = [h for h in others if hasattr(h, "before_fetch_train_data")]

    k, several = adapter.ascent_steps, adapter.generator_steps > 1
    last = f"every {k} iterations: " if k > 1 and not adapter.cycle_per_iteration else ""
    lines = [f"{', '.join(type(h).__name__ for h in fetching) + '; ' if fetching else ''}next batch"]
    if not several:
        lines.append("MinMaxHook: the pending generator step, if there is one, becomes the proposal")
    lines.append(f"other hooks: {', '.join(_names(others, 'before_train_iter')) or 'none'}")
    lines.append(
        f"the discriminator's {k} ascent steps"
        if adapter.cycle_per_iteration
        else "the discriminator's pass, and its step"
    )
    lines.append(f"{last}MinMaxHook: reads f, accepts the proposal, or restores the incumbent")
    lines.append(
        f"{last}the {adapter.generator_steps} generator steps, taken at the incumbent: the next proposal"
        if several
        else f"{last}the generator's pass at the incumbent; its step is left pending"
    )
    lines.append("MinMaxHook: logs the decision; shows the incumbent to the hooks that are due")
    # The toolkit makes this one of the config's ``evaluation`` when it trains, before all others.
    evaluation = [cfg.evaluation.get("type", "GenerativeEvalHook")] if cfg.get("evaluation") else []
    lines.append(f"other hooks: {', '.join([*evaluation, *_names(others, 'after_train_iter')]) or 'none'}")
    lines.append(f"then: {', '.join(_names(saving, 'after_train_iter')) or 'no checkpoints'}")
    return lines


def _names(hooks: list[Any], stage: str) -> list[str]:
    return [type(h).__name__ for h in hooks if stage in h.get_triggered_stages()]


def _memory(cfg: Config, adapter: GameAdapter, settings: MinMaxSettings) -> dict[str, float]:
    restore, whole = settings.restored, settings.recover_nonfinite
    entries = adapter.optimizers_in(cfg) or {name: dict(type="Adam", lr=1.0) for name in adapter.names}
    networks = (adapter.generator, adapter.discriminator)
    kept, weights = 0.0, 0.0
    for network, restored, entry in zip(
        networks, (restore.min_player, restore.max_player), entries.values(), strict=True
    ):
        own = sum(p.numel() * p.element_size() for p in network.parameters())
        buffers = sum(b.numel() * b.element_size() for b in network.buffers())
        weights += own + buffers
        if restored or whole:
            kept += own + (buffers if restore.buffers or whole else 0)
            kept += own * _moments(entry) if restore.moments or whole else 0
    most = ", at most (its largest stage has less)" if adapter.cycle_per_iteration else ""
    return {"weights of both players": weights / MIB, f"kept for a rejection{most}": kept / MIB}


def _moments(settings: dict[str, Any]) -> int:
    """Count the tensors of a weight's size that an optimizer keeps for each weight."""
    settings = {**settings, "type": settings["type"].removeprefix("MinMax")}
    network = nn.Linear(3, 1, bias=False)
    optimizer = build_optimizers(network, settings)
    network.weight.grad = torch.zeros_like(network.weight)
    optimizer.step()
    state = optimizer.state[network.weight]
    return sum(isinstance(v, torch.Tensor) and v.shape == network.weight.shape for v in state.values())
