"""All policies by name, and the rule that is made of others."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from minmax_plugin.acceptance import Acceptance, Always, Annealed, Comparison, ConstantRate, Strict
from minmax_plugin.checks import is_number
from minmax_plugin.controls import Matched, Never, RandomRate
from minmax_plugin.outliers import Outlier
from minmax_plugin.released import DecreasingTemperature, Periodic


@dataclasses.dataclass(frozen=True)
class Significant(Acceptance):
    """Decide by the test only where Δf exceeds its noise, and by a named rule elsewhere.

    The theory's strict test decides when abs(f_new − f_old) > ``z`` standard errors. Otherwise, or where there is no
    standard error, ``otherwise`` decides. This departs from the paper, whose test does not know its noise. ``z=0``
    undoes it.

    Args:
        z: The number of standard errors, 0 or more.
        min_decrease: How much f must fall, in units of f, 0 or more.
        otherwise: The rule for a Δf within its noise: a policy, a name or a dict.

    Raises:
        ValueError: If ``z`` or ``min_decrease`` is negative.

    Examples:
        >>> rule = Significant(z=2, otherwise="always")
        >>> rule(Comparison(0, f_old=1.0, f_new=1.1, draw=0.0, standard_error=0.2))
        (True, 'always')
        >>> rule(Comparison(0, f_old=1.0, f_new=1.5, draw=0.0, standard_error=0.2))
        (False, 'worse')
    """

    needs_error = True

    z: float = 2.0
    min_decrease: float = 0.0
    otherwise: str | Mapping[str, Any] | Acceptance = "always"

    def __post_init__(self) -> None:
        if not (is_number(self.z) and self.z >= 0):
            raise ValueError(f"z must be 0 or more standard errors, but got {self.z!r}.")
        object.__setattr__(self, "otherwise", build_acceptance(self.otherwise))
        object.__setattr__(self, "_strict", Strict(self.min_decrease))

    @property
    def memory(self) -> int:
        otherwise: Any = self.otherwise
        return otherwise.memory

    def __call__(self, c: Comparison) -> tuple[bool, str]:
        stands_out = abs(c.f_new - c.f_old) > self.z * c.standard_error  # False where it is NaN
        rule: Any = self._strict if stands_out else self.otherwise  # type: ignore[attr-defined]
        return rule(c)


POLICIES: dict[str, type[Acceptance]] = {
    "strict": Strict,
    "constant": ConstantRate,
    "annealed": Annealed,
    "periodic": Periodic,
    "decreasing": DecreasingTemperature,
    "significant": Significant,
    "outlier": Outlier,
    "always": Always,
    "never": Never,
    "random": RandomRate,
    "matched": Matched,
}

OF_PRESETS = {"practical": "constant", "paper": "annealed"}
"""The policies of those presets that are taken for policies themselves. Presets are known to the settings alone."""


def build_acceptance(spec: str | Mapping[str, Any] | Acceptance) -> Acceptance:
    """Build a policy from its name, or from a dict with ``type`` and the policy's arguments.

    Args:
        spec: A name in :data:`POLICIES`, a mapping such as ``dict(type="constant", rate=0.25)``, or a policy.

    Raises:
        ValueError: If the name is unknown, the policy lacks an argument that was given, or ``spec`` is none of these.

    Examples:
        >>> build_acceptance(dict(type="constant", rate=0.25))
        ConstantRate(min_decrease=0.0, reverse=False, rate=0.25, tau=None)
    """
    if isinstance(spec, Acceptance):
        return spec
    if not isinstance(spec, (str, Mapping)):
        raise ValueError(
            f"acceptance must be a policy such as ConstantRate(rate=0.2), a name or a dict with type, but got {spec!r}."
        )
    settings = {"type": spec} if isinstance(spec, str) else dict(spec)
    name = settings.pop("type", "constant")
    if not isinstance(name, str) or name not in POLICIES:
        policy_of = OF_PRESETS.get(name) if isinstance(name, str) else None
        hint = f": that is a preset of the hooks; its policy is {policy_of!r}" if policy_of else ""
        raise ValueError(f"acceptance must be one of {sorted(POLICIES)}, but got {name!r}{hint}.")
    policy = POLICIES[name]
    known = list(inspect.signature(policy).parameters)
    unknown = sorted(set(settings) - set(known), key=str)
    if unknown:
        hint = ": slack is named min_decrease now" if "slack" in unknown else ""
        raise ValueError(f"acceptance {name!r} takes {known}, but got {unknown}{hint}.")
    try:
        return policy(**settings)
    except TypeError as error:
        raise ValueError(f"acceptance {name!r} takes {known}, but got {settings}: {error}.") from error
