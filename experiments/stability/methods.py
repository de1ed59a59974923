"""The methods that the map compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

from experiments.stability import rules
from experiments.stability.baselines import Extragradient, Lookahead, Unrolled
from experiments.stability.losses import Losses
from experiments.stability.rules import Rule
from experiments.stability.tasks import Batches
from experiments.stability.training import Training

PLAIN, R1, R1_R2 = Losses(), Losses(r1=1.0), Losses(r1=1.0, r2=1.0)


@dataclasses.dataclass(frozen=True)
class Method:
    """A method of training.

    Args:
        title: For pictures.
        losses: Of both players.
        rule: Makes the accept rule.
        after: The method whose acceptance rate it takes: it is then that method's random control.
        training: How a cycle goes.
        anneal: Whether the generator's rate falls to 0, along half a cosine.
        seeds: The seeds of a map.
    """

    title: str
    losses: Losses = PLAIN
    rule: Callable[[], Rule] | None = None
    after: str | None = None
    training: type[Training] = Training
    anneal: bool = False
    seeds: int = 4

    def start(self, batches: Batches, lr_g: Tensor, lr_d: Tensor, rate: Tensor | None = None) -> Training:
        """Begin a training. ``rate``: of a random control, for each run."""
        rule = self.rule() if self.rule else None
        if rule and rate is not None:
            rule = rules.random(rate, rule)
        return self.training(batches, lr_g, lr_d, self.losses, rule)


def _with_control(name: str, method: Method) -> dict[str, Method]:
    control = dataclasses.replace(method, title=f"random, as often as {method.title}", after=name)
    return {name: method, f"random-{name}": control}


METHODS = {
    "gda": Method("GDA", seeds=8),
    "r1": Method("GDA + R1", R1, seeds=8),
    **_with_control("default", Method("default rule", rule=rules.default, seeds=8)),
    **_with_control("default-r1", Method("default rule + R1", R1, rules.default, seeds=8)),
    "r1r2": Method("GDA + R1 + R2", R1_R2),
    "r3gan": Method("relativistic pairs + R1 + R2", Losses(True, 1.0, 1.0)),
    **_with_control("practical", Method("practical rule", rule=rules.practical)),
    **_with_control("practical-r1", Method("practical rule + R1", R1, rules.practical)),
    **_with_control("released", Method("released rule", rule=rules.released)),
    **_with_control("released-r1", Method("released rule + R1", R1, rules.released)),
    "annealed": Method("GDA, generator annealed", anneal=True),
    "extragradient": Method("extragradient", training=Extragradient),
    "lookahead": Method("Lookahead", training=Lookahead),
    "unrolled": Method("unrolled, 6 steps", training=Unrolled, seeds=2),
}
