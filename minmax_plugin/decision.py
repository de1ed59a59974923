"""What the game decided about one proposal."""

from __future__ import annotations

import dataclasses

BAD_STEPS = {
    "non-finite": "something was not finite",
    "outlier of f": "its change of f stood out",
    "outlier of the weights' norm": "its change of the weights' norm stood out",
}
"""The reasons of a rejection that undid a bad step, in words. Other rejections are the usual course of a rule."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one proposal.

    Attributes:
        index: The decision's number, from 0.
        f_old: The value of f at the incumbent; NaN where there was none yet.
        f_new: The value of f at the proposal, after the response.
        standard_error: The standard error of f_new − f_old; NaN where there is none.
        accepted: Whether the proposal was accepted.
        reason: Why, in a word or two. ``initial`` means that there is no f_old yet. The paper's rules say ``improved``,
            ``chance`` or ``worse``. The rule for outliers says ``warm-up``, ``usual``, ``outlier of ...`` or
            ``repeated``. Others are ``no proposal``, ``non-finite``, ``patience``, and a control's name.
        rejections: The number of rejections in a row, this one included.

    Examples:
        >>> Decision(7, f_old=1.0, f_new=1.5, standard_error=0.1, accepted=False, reason="worse", rejections=2).accepted
        False
    """

    index: int
    f_old: float
    f_new: float
    standard_error: float
    accepted: bool
    reason: str
    rejections: int

    @property
    def undid(self) -> bool:
        """Whether a bad step was undone, for one of :data:`BAD_STEPS`."""
        return not self.accepted and self.reason in BAD_STEPS

    @property
    def story(self) -> str:
        """The undoing of a bad step in words, for a log. It is empty for any other decision.

        Examples:
            >>> Decision(7, 1.0, 9.5, 0.1, False, "outlier of f", 1).story
            'a step was undone, because its change of f stood out (f from 1 to 9.5)'
            >>> Decision(7, 1.0, 1.5, 0.1, False, "worse", 1).story
            ''
        """
        if not self.undid:
            return ""
        return f"a step was undone, because {BAD_STEPS[self.reason]} (f from {self.f_old:.4g} to {self.f_new:.4g})"
