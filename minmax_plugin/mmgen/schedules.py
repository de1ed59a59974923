"""Learning-rate schedules of one player alone; the toolkit's schedules move all players together."""

from __future__ import annotations

from typing import Any

from mmcv.runner import HOOKS, Hook

from minmax_plugin.mmgen.check import schedule_hook


@HOOKS.register_module()
class OfPlayerLrUpdaterHook(Hook):
    """A learning-rate policy of the toolkit for one player; the others keep their rates.

    Annealing the generator alone makes proposals smaller as the training proceeds. The discriminator's responses
    then become better. The theory allows any distribution of proposals, so their scale is free (arXiv:2006.12376).

    Args:
        player: The player, a key of the config's ``optimizer``.
        schedule: The policy and its settings, as ``lr_config`` would have them.
        by_epoch: Whether the schedule counts epochs, where the schedule does not say.

    Raises:
        ValueError: If there is no such policy. Before the first iteration, if there is no such player.

    Examples:
        >>> cosine = dict(policy="CosineAnnealing", min_lr=0)
        >>> lr_config = dict(policy="OfPlayer", player="generator", schedule=cosine)
        >>> OfPlayerLrUpdaterHook(player="generator", schedule=cosine).player
        'generator'
    """

    reads_weights = False

    def __init__(self, player: str, schedule: dict[str, Any], by_epoch: bool = False) -> None:
        self.player = player
        self.schedule = HOOKS.build(schedule_hook({"by_epoch": by_epoch, **schedule}, "lr_config.schedule"))

    def before_run(self, runner: Any) -> None:
        players = list(runner.optimizer) if isinstance(runner.optimizer, dict) else []
        if self.player not in players:
            raise ValueError(f"lr_config.player must be one of {players}, but got {self.player!r}.")
        self.schedule.before_run(_OnePlayer(runner, self.player))

    def before_train_iter(self, runner: Any) -> None:
        self.schedule.before_train_iter(_OnePlayer(runner, self.player))


class _OnePlayer:
    """A runner as a schedule sees it, with the optimizer of one player."""

    def __init__(self, runner: Any, player: str) -> None:
        self._runner = runner
        self.optimizer = {player: runner.optimizer[player]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)
