"""All settings of a min-max training: their names, presets and limits. Every host, the search and the docs use them."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minmax_plugin.acceptance import Acceptance
from minmax_plugin.checks import check_above_0, check_flags, check_patience, is_count, is_number
from minmax_plugin.policies import build_acceptance

if TYPE_CHECKING:
    from minmax_plugin.snapshot import Restore

SEEDS = 2**32  # as many as NumPy takes, from 0 on
RESTORED = ("both", "generator")

# Both values of f on one small part of a batch, with the same noise, for some decisions. A departure: the paper keeps
# f_old from its own batch (estimator="fresh"), and the released code reads both from the ascent steps
# (estimator="last"). Those values differ by their batches more than by the proposal.
PAIRED = dict(type="paired", fraction=0.25, hold=8)
WHOLE = dict(restore="both", restore_moments=True, restore_buffers=True, update_reference_on_reject=False)

DEFAULT_PRESET = "outlier"
PRESETS: dict[str, dict[str, Any]] = {
    # The default. It undoes bad steps of either player and keeps all else, so it only needs a coarse f. It departs from
    # the paper, whose test is one-sided; preset="practical" is the paper's.
    "outlier": dict(acceptance=dict(type="outlier"), estimator={**PAIRED, "fraction": 0.125}, **WHOLE),
    # The rule of the paper's GAN experiments, with a constant probability.
    "practical": dict(acceptance=dict(type="constant"), estimator=PAIRED, **WHOLE),
    # The theory's rule (arXiv:2006.12376, Algorithm 1): annealed acceptance, both players restored. The ascent to
    # ‖∇y f‖ ≤ ε' and the end after r_max rejections are other settings, ascent_tolerance and patience. The paper gives
    # no values of them for GANs.
    "paper": dict(acceptance=dict(type="annealed"), estimator=PAIRED, **WHOLE),
    # The released code for four Gaussians, its quirks included. The test has the opposite sign to the theory: it
    # rejects when f falls. It compares values of different minibatches, each read before the last ascent step. Only
    # the generator's weights are restored. f_old becomes f_new even on a rejection. Every 4th decision skips the test.
    # Not reproduced: one Adam object shared by all models, so that its step count is common to them.
    "released-gaussians": dict(
        acceptance=dict(type="periodic", every=4, reverse=True),
        estimator=dict(type="last"),
        restore="generator",
        restore_moments=False,
        restore_buffers=False,
        update_reference_on_reject=True,
    ),
    # The released code for MNIST: f on fresh batches without dropout, every 5th decision skips the test, Adam's
    # moments never restored.
    "released-mnist": dict(
        acceptance=dict(type="periodic", every=5),
        estimator=dict(type="fresh"),
        **{**WHOLE, "restore_moments": False, "restore_buffers": False},
    ),
}
PARTS = {"acceptance": "constant", "estimator": "paired"}
"""The settings that have a type with arguments, and their types where none is written."""

RENAMED = {
    "value": "estimator",
    "track": "update_reference_on_reject",
    "r_max": "patience",
    "escape": "on_patience",
    "guard": "recover_nonfinite",
    "slack": "min_decrease",
}
"""The names of version 0.1.0, and the present ones."""


@dataclasses.dataclass(frozen=True)
class EstimatorSettings:
    """The setting ``estimator``: how f is estimated.

    Args:
        type: The estimator. ``paired`` reads both values on one batch, with one noise, in inference mode. So most of
            the noise cancels. ``fresh`` reads f_new on a new batch, and f_old is the value at the incumbent's
            acceptance (as in the paper). ``last`` takes the last ascent step's own forward pass. It is free. It is
            read before that step, and its two values are of two batches.
        batches: The number of evaluations that are averaged. Not for ``last``.
        fraction: The share of the batch that an evaluation uses, above 0 and at most 1. It uses at least 8 samples.
            Not for ``last``.
        reread: Whether ``fresh`` reads f_old again too, on another batch.
        hold: The number of decisions for which ``paired`` holds a batch. A decision then costs one evaluation of f,
            and each new batch one more. Where a rejection does not restore both players and their buffers, or where f
            changes by itself (progressive growing), each decision costs two.

    Raises:
        ValueError: If the type is unknown, or an option is out of range or has no effect.

    Examples:
        >>> EstimatorSettings.parse(dict(type="paired", batches=2))
        EstimatorSettings(type='paired', batches=2, fraction=1.0, reread=False, hold=1)
    """

    type: str = "paired"
    batches: int = 1
    fraction: float = 1.0
    reread: bool = False
    hold: int = 1

    OPTIONS = {"last": (), "fresh": ("batches", "fraction", "reread"), "paired": ("batches", "fraction", "hold")}

    def __post_init__(self) -> None:
        if not is_count(self.batches):
            raise ValueError(f"batches must be 1 or more, but got {self.batches!r}.")
        if not (is_number(self.fraction) and 0 < self.fraction <= 1):
            raise ValueError(f"fraction must be above 0 and at most 1, but got {self.fraction!r}.")
        if not is_count(self.hold):
            raise ValueError(f"hold must be 1 decision or more, but got {self.hold!r}.")
        check_flags(reread=self.reread)

    @classmethod
    def parse(cls, spec: str | Mapping[str, Any]) -> EstimatorSettings:
        """Read the setting as a config has it: a name, or a dict with ``type`` and options."""
        options = _part("estimator", spec)
        kind = options["type"]
        if not isinstance(kind, str) or kind not in cls.OPTIONS:
            raise ValueError(f"estimator must be one of {list(cls.OPTIONS)}, but got {kind!r}.")
        unknown = sorted(set(options) - {"type", *cls.OPTIONS[kind]})
        if unknown:
            raise ValueError(f"estimator {kind!r} takes {list(cls.OPTIONS[kind])}, but got {unknown}.")
        return cls(**options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinMaxSettings:
    """The checked settings of a min-max training. ``None`` stands for the preset's value.

    Args:
        preset: The preset: ``outlier``, ``practical``, ``paper``, ``released-gaussians`` or ``released-mnist``.
        acceptance: The policy's name, or a dict with ``type`` and its arguments. See
            :mod:`minmax_plugin.acceptance`.
        estimator: How f is estimated: ``paired``, ``fresh`` or ``last``, or a dict with ``type`` and options. See
            :class:`EstimatorSettings`.
        restore: What a rejection restores: ``both`` players, or the ``generator`` alone.
        restore_moments: Whether a rejection also restores the restored players' optimizer states. Learning rates are
            never restored.
        restore_buffers: Whether a rejection also restores the restored players' buffers (batch norm, spectral norm).
        update_reference_on_reject: Whether a rejected f_new becomes f_old all the same.
        ascent_steps: The number k of ascent steps, as a check. Another number in the config is an error.
        ascent_tolerance: The tolerance ε'. Once ‖∇y f‖ is at most this, the cycle's remaining discriminator steps are
            skipped. So ``disc_steps`` is a cap. Each step costs a synchronisation.
        patience: The rejections in a row above which ``on_patience`` applies, the paper's r_max. ``None`` for never.
        on_patience: What happens above ``patience``: ``stop`` ends the training, ``accept`` accepts the proposal,
            ``raise`` raises.
        recover_nonfinite: Whether to capture both players whole, so that any non-finite state can be undone.
        max_nonfinite: The number of non-finite proposals in a row before giving up.
        pool: The number of batches of real images held in memory for ``fresh`` and ``paired``.
        record: Whether to write each decision to ``decisions.jsonl`` in the work dir.
        seed: The seed of the acceptance draw and of the evaluations of f. If it is not given, it is the seed of the
            run. A resumed run takes the one that it began with.

    Raises:
        ValueError: If a setting is out of range, or two contradict each other.

    Examples:
        >>> settings = MinMaxSettings.from_dict({"preset": "paper", "acceptance": {"type": "annealed", "tau1": 50}})
        >>> settings.policy, settings.restored.moments
        (Annealed(min_decrease=0.0, reverse=False, tau1=50), True)
        >>> settings.with_setting("acceptance.type", "constant").to_dict()
        {'preset': 'paper', 'acceptance': {'type': 'constant'}}
    """

    preset: str = DEFAULT_PRESET
    acceptance: str | Mapping[str, Any] | Acceptance | None = None
    estimator: str | Mapping[str, Any] | None = None
    restore: str | None = None
    restore_moments: bool | None = None
    restore_buffers: bool | None = None
    update_reference_on_reject: bool | None = None
    ascent_steps: int | None = None
    ascent_tolerance: float | None = None
    patience: int | None = None
    on_patience: str = "stop"
    recover_nonfinite: bool = False
    max_nonfinite: int = 10
    pool: int = 8
    record: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.preset, str) or self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {list(PRESETS)}, but got {self.preset!r}.")
        chosen = self.resolved
        if chosen["restore"] not in RESTORED:
            raise ValueError(f"restore must be one of {list(RESTORED)}, but got {chosen['restore']!r}.")
        flags = ("restore_moments", "restore_buffers", "update_reference_on_reject", "recover_nonfinite", "record")
        check_flags(**{name: chosen[name] for name in flags})
        check_patience(self.patience, self.on_patience, self.max_nonfinite)
        if self.ascent_steps is not None and not is_count(self.ascent_steps):
            raise ValueError(f"ascent_steps must be 1 or more, but got {self.ascent_steps!r}.")
        if not is_count(self.pool):
            raise ValueError(f"pool must be 1 batch or more, but got {self.pool!r}.")
        if self.ascent_tolerance is not None:
            check_above_0("ascent_tolerance", self.ascent_tolerance)
        if self.seed is not None and not (is_count(self.seed, least=0) and self.seed < SEEDS):
            raise ValueError(f"seed must be a whole number from 0 to 2**32 - 1, or None, but got {self.seed!r}.")
        policy, estimated = self.policy, self.estimated  # each checks its own arguments
        if estimated.type == "last" and policy.needs_error:
            raise ValueError(
                "estimator='last' has no standard error, by which this acceptance decides: use estimator='fresh' or "
                "'paired'."
            )

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> MinMaxSettings:
        """Read the settings as a config has them.

        Args:
            entry: The settings by name. The keys ``type`` and ``priority``, which a config's registry needs, are
                ignored.

        Raises:
            ValueError: If a name is unknown. The message has the nearest name, or the present one of a renamed setting.
        """
        given = {name: value for name, value in entry.items() if name not in ("type", "priority")}
        known = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            if name in RENAMED:
                raise ValueError(f"{name}={given[name]!r}: this setting is named {RENAMED[name]!r} now.")
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; the nearest is {near[0]!r}" if near else ""
                raise ValueError(f"{name}={given[name]!r} is no setting of MinMax{hint}. Its settings: {known}.")
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, as :meth:`from_dict` takes them."""
        differ = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in differ.items()}

    @functools.cached_property
    def resolved(self) -> dict[str, Any]:
        """All settings by name, with the preset's where none is given."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return given | {name: value for name, value in PRESETS[self.preset].items() if given[name] is None}

    @property
    def meaning(self) -> dict[str, Any]:
        """The values in force, in one form. They are equal for settings that train alike."""
        in_force = {**self.resolved, "acceptance": self.policy, "estimator": self.estimated}
        del in_force["preset"]
        return in_force

    @functools.cached_property
    def policy(self) -> Acceptance:
        """The acceptance policy."""
        return build_acceptance(self.resolved["acceptance"])

    @functools.cached_property
    def estimated(self) -> EstimatorSettings:
        """The settings of the estimator of f."""
        return EstimatorSettings.parse(self.resolved["estimator"])

    @property
    def restored(self) -> Restore:
        """The parts that a rejection restores."""
        from minmax_plugin.snapshot import Restore  # it needs torch, which a command's --help does not wait for

        chosen = self.resolved
        return Restore.named(chosen["restore"], chosen["restore_moments"], chosen["restore_buffers"])

    @property
    def game(self) -> dict[str, Any]:
        """The arguments of :class:`~minmax_plugin.MinMaxGame` that are settings."""
        names = ("update_reference_on_reject", "patience", "on_patience", "recover_nonfinite", "max_nonfinite")
        return dict(acceptance=self.policy, restore=self.restored) | {name: self.resolved[name] for name in names}

    def get(self, path: str) -> Any:
        """Return the value in force at a path, such as ``acceptance.type``.

        Raises:
            KeyError: If there is no such setting.
        """
        name, _, rest = path.partition(".")
        value = self.resolved[name]
        if not rest:
            return value
        return _part(name, value)[rest]

    def with_setting(self, path: str, value: Any) -> MinMaxSettings:
        """Return the same settings with another value at a path.

        If the preset decides ``acceptance`` or ``estimator``, that setting is written out first. Another ``type``
        replaces the whole setting, arguments included.

        Raises:
            ValueError: If there is no such setting, or it is out of range.
        """
        name, _, rest = path.partition(".")
        if rest:
            if name not in PARTS:
                hint = f" It is named {RENAMED[name]!r} now." if name in RENAMED else ""
                raise ValueError(f"{name!r} has no settings of its own.{hint}")
            part = _part(name, self.resolved.get(name))
            changed = {"type": value} if rest == "type" and part["type"] != value else {**part, rest: value}
            value = changed
        return MinMaxSettings.from_dict({**self.to_dict(), name: value})


def _part(name: str, spec: Any) -> dict[str, Any]:
    """Return a setting that has arguments as a dict with its type, in either written form."""
    if isinstance(spec, str):
        return {"type": spec}
    if not isinstance(spec, Mapping):
        raise ValueError(f"{name} must be a name, or a dict with a type, but got {spec!r}.")
    return {"type": PARTS[name], **spec}


def present_name(name: str) -> str:
    """Return the present name of a setting of version 0.1.0."""
    return RENAMED.get(name, name)


def present_settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of version 0.1.0 under their present names.

    Examples:
        >>> present_settings({"value": "fresh", "acceptance": {"type": "strict", "slack": 0.1}, "guard": True})
        {'estimator': 'fresh', 'acceptance': {'type': 'strict', 'min_decrease': 0.1}, 'recover_nonfinite': True}
    """
    return {
        present_name(name): present_settings(value) if isinstance(value, Mapping) else value
        for name, value in entry.items()
    }
