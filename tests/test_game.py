import copy
import math

import numpy as np
import oracle
import pytest
import torch
from exact import assert_identical

from minmax_plugin import (
    Always,
    Annealed,
    ConstantRate,
    Decision,
    DecreasingTemperature,
    Estimate,
    FreshBatch,
    Matched,
    MinMaxGame,
    Never,
    Periodic,
    Player,
    RandomRate,
    Restore,
    Significant,
    Strict,
)

POLICIES = {
    "strict": (Strict(slack=0.01), lambda i, old, new, draw: new <= old - 0.01),
    "reversed": (Strict(reverse=True), lambda i, old, new, draw: new >= old),
    "constant": (ConstantRate(rate=0.4), lambda i, old, new, draw: new <= old or draw < 0.4),
    "annealed": (Annealed(tau1=9.0), lambda i, old, new, draw: new <= old or draw < math.exp(-i / 9)),
    "periodic": (Periodic(every=4), lambda i, old, new, draw: new <= old or i in range(0, 100, 4)),
    "decreasing": (
        DecreasingTemperature(scale=20.0),
        lambda i, old, new, draw: new <= old or draw < 1 / (4 + math.exp((i / 20) ** 2)),
    ),
    "always": (Always(), lambda i, old, new, draw: True),
    "never": (Never(), lambda i, old, new, draw: False),
    "random": (RandomRate(rate=0.5), lambda i, old, new, draw: draw < 0.5),
    "random, several rates": (
        RandomRate(rate=[0.9, 0.1], window=10),
        lambda i, old, new, draw: draw < (0.9 if i < 10 else 0.1),
    ),
    "matched": (
        Matched([True] * 10 + [False] * 10 + [True, False] * 10, window=10),
        lambda i, old, new, draw: draw < [1, 0, 0.5, 0.5][i // 10],
    ),
}
OPTIMIZERS = {
    "adam": (oracle.Adam, lambda p, lr, ascend: torch.optim.Adam([p], lr=lr, betas=(0.5, 0.9), maximize=ascend)),
    "fused": (
        oracle.Adam,
        lambda p, lr, ascend: torch.optim.Adam([p], lr=lr, betas=(0.5, 0.9), maximize=ascend, fused=True),
    ),
    "momentum": (oracle.Momentum, lambda p, lr, ascend: torch.optim.SGD([p], lr=lr, momentum=0.8, maximize=ascend)),
}
ESTIMATORS = {
    "fresh": (dict(), lambda noise: oracle.Fresh(noise)),
    "average of 3": (dict(batches=3), lambda noise: oracle.Fresh(noise, batches=3)),
    "reread": (dict(reread="fresh"), lambda noise: oracle.Reread(noise)),
    "paired": (dict(reread="paired"), lambda noise: oracle.Paired(noise)),
    "paired, 2 batches": (dict(reread="paired", batches=2), lambda noise: oracle.Paired(noise, batches=2)),
}
CYCLES = 40
SEED = 5


def noise(cycle, k=5):
    random = np.random.default_rng([1, cycle])
    return 0.3 * random.normal(size=3), 0.3 * random.normal(size=(k, 3))


def noise_of(number):
    """What torch draws for the evaluation of this number."""
    return 0.2 * torch.randn((), generator=torch.Generator().manual_seed(SEED * 1_000_003 + number)).item()


class Played:
    """The oracle's game in torch, played by the package."""

    def __init__(self, policy="constant", optimizer="adam", k=2, estimator="fresh", guard=False, **restore):
        game = oracle.Game()
        self.k, self.a, self.b, self.c = k, *(torch.from_numpy(m) for m in (game.a, game.b, game.c))
        self.x, self.y = (torch.nn.Parameter(torch.from_numpy(p.copy())) for p in (game.x0, game.y0))
        build = OPTIMIZERS[optimizer][1]
        self.min_optimizer, self.max_optimizer = build(self.x, 0.05, False), build(self.y, 0.1, True)
        read = FreshBatch(lambda: self.f() + 0.2 * torch.randn(()), [], seed=SEED, **ESTIMATORS[estimator][0])
        track = restore.pop("track", False)
        self.game = MinMaxGame(
            self.min_optimizer,
            self.max_optimizer,
            POLICIES[policy][0],
            Restore.named(**(restore or dict(players="both"))),
            read,
            seed=7,
            track=track,
            guard=guard,
        )

    def f(self, extra_x=(0.0,) * 3, extra_y=(0.0,) * 3):
        x, y = self.x, self.y
        value = 0.5 * x @ self.a @ x + x @ self.b @ y - 0.5 * y @ self.c @ y + x[0].sin()
        return value + x @ torch.as_tensor(extra_x).double() + y @ torch.as_tensor(extra_y).double()

    def moves(self, cycle):
        """The single moves of a cycle: after each of them a run may be saved."""
        of_gradient, of_ascent = noise(cycle)
        yield lambda: self.game.propose()
        for step in range(self.k):
            yield lambda extra=of_ascent[step]: self.ascend(extra)
        yield lambda: self.game.decide()
        yield lambda: self.descend(of_gradient)

    def ascend(self, extra):
        self.max_optimizer.zero_grad()
        self.f(extra_y=extra).backward()
        self.max_optimizer.step()

    def descend(self, extra):
        self.min_optimizer.zero_grad()
        self.f(extra_x=extra).backward()

    def state_dict(self):
        return {
            "x": self.x.detach(),
            "y": self.y.detach(),
            "min": self.min_optimizer.state_dict(),
            "max": self.max_optimizer.state_dict(),
            "game": self.game.state_dict(),
        }

    def load_state_dict(self, state):
        self.x.data.copy_(state["x"])
        self.y.data.copy_(state["y"])
        self.min_optimizer.load_state_dict(state["min"])
        self.max_optimizer.load_state_dict(state["max"])
        self.game.load_state_dict(state["game"])


def compare(policy, optimizer, estimator, k, players, moments, track):
    played = Played(policy, optimizer, k, estimator, players=players, moments=moments, track=track)
    storage = played.x.data_ptr(), played.y.data_ptr()
    draws = torch.rand(CYCLES, generator=torch.Generator().manual_seed(7)).tolist()
    decide, plain, read = POLICIES[policy][1], OPTIMIZERS[optimizer][0], ESTIMATORS[estimator][1](noise_of)
    expected = oracle.play(
        oracle.Game(), plain, k, CYCLES, decide, noise, draws, read, players == "both", moments, track
    )
    outcomes = set()
    for cycle, (x, y, accepted) in enumerate(expected):
        for move in played.moves(cycle):
            result = move()
            if isinstance(result, Decision):
                decision = result
        assert decision.accepted == accepted
        np.testing.assert_allclose(played.x.detach().numpy(), x, rtol=1e-9)
        np.testing.assert_allclose(played.y.detach().numpy(), y, rtol=1e-9)
        outcomes.add(accepted)
    if policy not in ("always", "never"):
        assert outcomes == {True, False}
    assert (played.x.data_ptr(), played.y.data_ptr()) == storage


@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize("players", ["both", "generator"])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_and_restore_equals_the_plain_implementation(policy, players, moments):
    for optimizer, k in (("adam", 1), ("fused", 3), ("momentum", 2)):
        compare(policy, optimizer, "fresh", k, players, moments, track=False)


@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("players", ["both", "generator"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_equals_the_plain_implementation(estimator, players, track):
    for policy in ("constant", "reversed"):
        compare(policy, "adam", estimator, 2, players, True, track)


@pytest.mark.parametrize("reread", [None, "fresh", "paired"])
def test_a_decision_by_its_noise_equals_the_plain_rule(reread):
    run = Played("constant", "adam", 2)
    terms = FreshBatch(lambda: run.f() + 3.0 * torch.randn(16).double(), [], seed=SEED, reread=reread)
    rule = Significant(z=1.0, otherwise=RandomRate(rate=0.5))
    draws = torch.rand(CYCLES, generator=torch.Generator().manual_seed(7)).tolist()
    run.game = MinMaxGame(run.min_optimizer, run.max_optimizer, rule, value=terms, seed=7)
    number, kept, outcomes = 0, None, set()

    def noise_terms(number):
        return 3.0 * torch.randn(16, generator=torch.Generator().manual_seed(SEED * 1_000_003 + number)).double()

    def error(noise):
        return noise.std().item() / 4

    for cycle in range(CYCLES):
        propose, *ascents, decide, descend = run.moves(cycle)
        old = None
        if cycle and reread:
            old = run.f().item() + noise_terms(number).mean().item()
            old_noise = noise_terms(number)
            number += reread == "fresh"
        propose()
        for ascend in ascents:
            ascend()
        new_noise = noise_terms(number)
        new = run.f().item() + new_noise.mean().item()
        number += 1
        decision = decide()
        if cycle:
            if reread == "paired":
                expected_error = error(new_noise - old_noise)
            else:
                expected_error = math.hypot(error(new_noise), error(old_noise) if reread else kept[1])
            old = kept[0] if old is None else old
            stands_out = abs(new - old) > expected_error
            assert decision.f_old == pytest.approx(old, rel=1e-9)
            assert decision.f_new == pytest.approx(new, rel=1e-9)
            assert decision.standard_error == pytest.approx(expected_error, rel=1e-6, abs=1e-12)
            assert decision.accepted == (new <= old if stands_out else draws[cycle] < 0.5)
            outcomes.add(decision.reason)
        if decision.accepted:
            kept = new, error(new_noise)
        descend()
    # paired, the noise cancels to nothing, and here the ascent outweighs every proposal
    assert outcomes == ({"worse"} if reread == "paired" else {"improved", "worse", "random"})


def small_game(**settings):
    x, y = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    x.grad = torch.ones(2)
    y.grad = torch.ones(2)
    optimizers = torch.optim.Adam([x], lr=0.1), torch.optim.Adam([y], lr=0.1)
    return x, y, *optimizers, MinMaxGame(*optimizers, **settings)


def test_decisions_are_recorded_as_they_fall():
    _, _, _, _, game = small_game(acceptance=Strict(), max_nonfinite=3)
    nan = pytest.approx(math.nan, nan_ok=True)
    expected = [
        # f_new, then the record
        (1.0, Decision(0, nan, 1.0, nan, True, "initial", 0)),
        (0.5, Decision(1, 1.0, 0.5, nan, True, "improved", 0)),
        (0.75, Decision(2, 0.5, 0.75, nan, False, "worse", 1)),
        (math.nan, Decision(3, 0.5, nan, nan, False, "non-finite", 2)),
        (math.inf, Decision(4, 0.5, math.inf, nan, False, "non-finite", 3)),
        (0.5, Decision(5, 0.5, 0.5, nan, True, "improved", 0)),
    ]
    for i, (value, decision) in enumerate(expected):
        if i:
            game.propose()
        assert game.decide(torch.tensor(value)) == decision
    assert (game.decisions, game.proposals, game.accepted, game.rejections) == (6, 5, 2, 0)


def test_a_rejected_first_step_leaves_no_optimizer_state():
    x, _, min_optimizer, _, game = small_game(acceptance=Never())
    game.decide(1.0)
    game.propose()
    assert min_optimizer.state[x]
    game.decide(0.0)
    assert x not in min_optimizer.state
    assert x.tolist() == [1.0, 1.0]


def test_buffers_go_back_with_their_player():
    norm = torch.nn.BatchNorm1d(2)
    optimizer = torch.optim.Adam(norm.parameters())
    other = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    for buffers in (True, False):
        game = MinMaxGame(Player(optimizer, norm), other, Never(), Restore(buffers=buffers))
        norm(torch.randn(8, 2)).sum().backward()
        game.decide(0.0)
        before = norm.running_mean.clone(), norm.num_batches_tracked.clone()
        game.propose()
        norm(torch.randn(8, 2))
        game.decide(1.0)
        assert torch.equal(norm.running_mean, before[0]) == buffers
        assert torch.equal(norm.num_batches_tracked, before[1]) == buffers


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("players", ["both", "generator"])
def test_swap_shows_the_kept_pair_and_gives_the_proposal_back(players, guard):
    x, y, min_optimizer, max_optimizer, game = small_game(restore=Restore.named(players), guard=guard)
    kept = x.clone(), y.clone()
    game.propose()
    max_optimizer.step()
    proposal = x.clone(), y.clone()
    game.swap()
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1] if players == "both" else proposal[1])
    assert x not in min_optimizer.state
    for end in (lambda: game.decide(0.0), game.close):  # it would take the one for the other
        with pytest.raises(RuntimeError, match="the kept pair is shown"):
            end()
    game.swap()
    assert torch.equal(x, proposal[0])
    assert torch.equal(y, proposal[1])
    assert min_optimizer.state[x]["step"] == 1


def test_learning_rates_are_not_rolled_back():
    _, _, min_optimizer, _, game = small_game(acceptance=Never())
    game.decide(0.0)
    game.propose()
    min_optimizer.param_groups[0]["lr"] = 0.01
    game.decide(1.0)
    assert min_optimizer.param_groups[0]["lr"] == 0.01


def test_a_guard_takes_no_more_back_where_all_is_finite():
    weights_alone = Restore(max_player=False, moments=False, buffers=False)
    x, y, min_optimizer, max_optimizer, game = small_game(acceptance=Never(), restore=weights_alone, guard=True)
    game.decide(0.0)
    game.propose()
    max_optimizer.step()
    answer = y.detach().clone()
    game.decide(1.0)
    assert x.tolist() == [1.0, 1.0]
    assert torch.equal(y, answer)
    assert min_optimizer.state[x]["step"] == max_optimizer.state[y]["step"] == 1


@pytest.mark.parametrize("reread", [None, "fresh", "paired"])
def test_nothing_that_was_read_of_f_outlives_a_stage(reread):
    value = FreshBatch(lambda: torch.randn(()), [], reread=reread)
    x, _, _, max_optimizer, game = small_game(acceptance=Never(), value=value)
    game.decide()
    game.propose()
    game.close()
    stepped = x.detach().clone()
    assert game.decide().reason == "initial"
    assert torch.equal(x, stepped)  # the proposal was kept
    game.propose()
    assert game.decide().reason == "never"
    game.replace(torch.optim.SGD([x], lr=0.1), max_optimizer)
    assert game.decide().reason == "initial"
    assert game.propose()
    with pytest.raises(RuntimeError, match=r"a proposal is open: call decide\(\) or close\(\) before replace\(\)"):
        game.replace(torch.optim.SGD([x], lr=0.1), max_optimizer)


def test_weights_of_another_shape_are_captured_anew():
    x, *_, game = small_game(acceptance=Never())
    game.decide(0.0)
    for shape in ((2,), (1,), (2, 3)):
        x.grad = None
        x.data = torch.rand(shape)
        x.grad = torch.ones(shape)
        before = x.detach().clone()
        game.propose()
        game.decide(1.0)
        assert torch.equal(x, before)


def test_an_open_proposal_must_be_decided_first():
    *_, game = small_game()
    game.propose()
    with pytest.raises(RuntimeError, match=r"still open: call decide\(\) before propose\(\)"):
        game.propose()


def test_the_draw_has_a_stream_of_its_own():
    *_, game = small_game(acceptance=ConstantRate(rate=0.5))
    outside = torch.get_rng_state()
    reasons = [(game.propose(), game.decide(float(i)))[1].reason for i in range(40)]
    assert torch.equal(torch.get_rng_state(), outside)
    assert set(reasons) == {"initial", "chance", "worse"}


def test_the_stream_is_at_the_number_of_decisions_whatever_they_were():
    *_, game = small_game(acceptance=ConstantRate(rate=0.5))
    for i, draw in enumerate(torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()):
        values = math.nan if i % 3 == 2 else float(i), draw < 0.5
        game.propose()
        reason = game.decide(values[0]).reason
        assert reason == ("initial" if i == 0 else "non-finite" if i % 3 == 2 else "chance" if values[1] else "worse")


def test_a_value_that_is_not_finite_is_not_tracked():
    *_, game = small_game(acceptance=Strict(), track=True)
    for value, reason in ((1.0, "initial"), (2.0, "worse"), (math.nan, "non-finite"), (1.5, "improved")):
        game.propose()
        assert game.decide(value).reason == reason


PHASES = [(cycle, move) for cycle in (3, 4) for move in range(5)]  # two cycles of propose, 2 ascents, decide, descend


@pytest.mark.parametrize("estimator", ["fresh", "reread", "paired"])
@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
@pytest.mark.parametrize(
    "restore",
    [dict(players=p, moments=m, buffers=m) for p in ("both", "generator") for m in (True, False)],
    ids=lambda r: f"{r['players']}-{'moments' if r['moments'] else 'weights'}",
)
def test_a_run_resumes_to_the_last_bit_at_every_phase(tmp_path, estimator, optimizer, restore):
    def build():
        return Played("constant", optimizer, 2, estimator, guard=not restore["moments"], **restore)

    def play(run, save_at=(), start=(0, -1), swapped=False):
        for cycle in range(8):
            for i, move in enumerate(run.moves(cycle)):
                if (cycle, i) <= start:
                    continue
                move()
                if (cycle, i) in save_at:
                    torch.save(run.state_dict(), tmp_path / f"{cycle}-{i}-plain.pt")
                    run.game.swap()  # as the toolkit saves it, the kept pair being shown
                    torch.save(run.state_dict(), tmp_path / f"{cycle}-{i}-swapped.pt")
                    run.game.swap()
        return run.state_dict()

    whole = play(build(), save_at=PHASES)
    for phase in PHASES:
        for kind in ("plain", "swapped"):
            run = build()
            run.load_state_dict(torch.load(tmp_path / f"{phase[0]}-{phase[1]}-{kind}.pt", weights_only=True))
            if run.game.swapped:
                run.game.swap()
            assert_identical(play(run, start=phase), whole)


def test_a_resumed_game_counts_on():
    values = [1.0, 0.5, 0.75, 0.4, 0.6, math.nan, math.nan]

    def play(game, values):
        decisions = []
        for value in values:
            game.propose()
            decisions.append(game.decide(Estimate(value, standard_error=0.1)))
        return decisions, [game.decisions, game.proposals, game.accepted, game.rejections, game.nonfinite]

    decisions, counts = play(small_game(acceptance=Strict())[-1], values)
    for cut in range(1, len(values)):
        first, then = small_game(acceptance=Strict())[-1], small_game(acceptance=Strict())[-1]
        play(first, values[:cut])
        then.load_state_dict(first.state_dict())
        assert repr(play(then, values[cut:])) == repr((decisions[cut:], counts))


def test_a_state_is_a_copy():
    run = Played("constant", "adam", 2, "paired")
    saved = []
    for cycle in range(6):
        for move in run.moves(cycle):
            move()
            state = run.game.state_dict()
            saved.append((state, copy.deepcopy(state)))
    for state, at_once in saved:
        assert_identical(state, at_once)


@pytest.mark.parametrize("other", [dict(restore=Restore(moments=False)), dict(guard=True)], ids=str)
def test_snapshots_of_other_settings_are_refused(other):
    settings = dict(restore=Restore(buffers=False), guard=False)
    *_, game = small_game(**settings)
    game.decide(0.0)
    between = game.state_dict()
    game.propose()
    opened = game.state_dict()
    *_, resumed = small_game(**{**settings, **other})
    resumed.load_state_dict(between)
    with pytest.raises(
        ValueError, match="was saved in mid-cycle with .*use the restore settings and guard that it was"
    ):
        resumed.load_state_dict(opened)


NONFINITE = [
    # what breaks, after the first cycle, and whether restoring the generator alone can mend it
    ("the min gradient", lambda x, y, a, b: x.grad.fill_(math.nan), False),
    ("the min weights", lambda x, y, a, b: x.data.fill_(math.inf), True),
    ("the max weights", lambda x, y, a, b: y.data.fill_(math.nan), False),
    ("the max moments", lambda x, y, a, b: (y.data.fill_(math.nan), b.state[y]["exp_avg"].fill_(math.nan)), False),
]


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize(("breaks", "mendable"), [c[1:] for c in NONFINITE], ids=[c[0] for c in NONFINITE])
def test_what_is_not_finite_is_taken_back_or_named(breaks, mendable, guard):
    x, y, a, b, game = small_game(
        acceptance=Always(), restore=Restore(max_player=False, moments=False, buffers=False), guard=guard
    )
    a.step()
    b.step()
    game.decide(0.0)
    before = [t.clone() for t in (x.data, y.data, *a.state[x].values(), *b.state[y].values())]
    gradient_first = x.grad is not None and breaks is NONFINITE[0][1]
    if gradient_first:
        breaks(x, y, a, b)
    game.propose()
    if not gradient_first:
        breaks(x, y, a, b)
    if not (guard or mendable):
        with pytest.raises(FloatingPointError, match="the damage lies outside what is restored .* Use guard=True"):
            game.decide(1.0)
        return
    decision = game.decide(1.0)
    assert (decision.accepted, decision.reason) == (False, "non-finite")
    if guard:
        after = [x.data, y.data, *a.state[x].values(), *b.state[y].values()]
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert game.min_player.is_finite()
    assert game.max_player.is_finite()


def test_too_many_non_finite_proposals_end_with_the_last_good_pair():
    x, *_, game = small_game(max_nonfinite=3)
    game.decide(0.0)
    kept = x.detach().clone()
    for _ in range(2):
        game.propose()
        assert game.decide(math.nan).reason == "non-finite"
    game.propose()
    with pytest.raises(FloatingPointError, match="3 proposals in a row were not finite; the last good pair is in"):
        game.decide(math.nan)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("escape", ["stop", "accept", "raise"])
def test_an_escape_after_more_than_r_max_rejections(escape):
    *_, game = small_game(acceptance=Strict(), r_max=3, escape=escape)
    game.decide(0.0)
    reasons = []

    def play():
        for i in range(5):
            game.propose()
            reasons.append(game.decide(1.0 + i).reason)
            if game.stopped:
                break

    if escape == "raise":
        with pytest.raises(RuntimeError, match="4 rejections in a row, more than r_max=3"):
            play()
    else:
        play()
    assert (
        reasons
        == {
            "stop": ["worse"] * 4,
            "accept": ["worse", "worse", "worse", "escape", "worse"],
            "raise": ["worse"] * 3,
        }[escape]
    )


@pytest.mark.parametrize(("f", "kept"), [(lambda i: -float(i), "100%"), (lambda i: float(i), "0%")])
def test_an_acceptance_rate_near_0_or_1_warns(f, kept):
    *_, game = small_game(acceptance=Strict())
    game.decide(0.0)
    for i in range(1, 500):
        game.propose()
        game.decide(f(i))
    *_, resumed = small_game(acceptance=Strict())
    resumed.load_state_dict(game.state_dict())
    for one in (game, resumed):
        one.propose()
        with pytest.warns(UserWarning, match=f"MinMax kept {kept} of the last 500 proposals"):
            one.decide(f(500))


def test_each_look_at_the_acceptance_rate_is_at_proposals_of_its_own():
    *_, game = small_game(acceptance=Strict())
    game.decide(0.0)
    for i in range(1, 1000):
        game.propose()
        game.decide(-float(i) if i % 2 and i < 500 else 1.0)  # the first half of them are not worth a warning
    game.propose()
    with pytest.warns(UserWarning, match="MinMax kept 0% of the last 500 proposals"):
        game.decide(1.0)


def test_a_step_that_the_scaler_skipped_is_no_proposal():
    x, _, optimizer, _, game = small_game(acceptance=Never())
    game.decide(0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for gradient, reason in ((math.inf, "no proposal"), (1.0, "never")):
        before = x.detach().clone()
        x.grad = torch.full((2,), gradient)
        scaler.scale(torch.ones(()))  # the scaler wants to have been used
        opened = game.propose(lambda: scaler.step(optimizer))
        scaler.update()
        assert opened == (reason == "never")
        decision = game.decide(0.5)
        assert (decision.reason, decision.accepted) == (reason, reason == "no proposal")
        assert torch.equal(x, before)
    assert (game.decisions, game.proposals) == (3, 1)
    assert game.f_old == 0.5


@pytest.mark.parametrize("fused", [False, True])
def test_a_skip_inside_a_fused_optimizer_is_no_proposal_either(fused):
    x = torch.nn.Parameter(torch.ones(2))
    other = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    optimizer = torch.optim.Adam([x], lr=0.1, fused=fused)
    game = MinMaxGame(optimizer, other, Always())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for factor, opened in ((math.inf, False), (1.0, True)):
        optimizer.zero_grad()
        scaler.scale((x * factor).sum()).backward()
        assert game.propose(lambda: scaler.step(optimizer)) == opened
        scaler.update()
        game.decide(0.0)
        assert game.min_player.is_finite()


def test_a_step_of_one_of_several_optimizers_is_a_proposal():
    x, y, z = (torch.nn.Parameter(torch.ones(1)) for _ in range(3))
    stepping, skipping = (torch.optim.Adam([p], fused=True) for p in (x, y))
    game = MinMaxGame(Player([stepping, skipping]), torch.optim.Adam([z]), Never())
    game.decide(0.0)
    skipping.found_inf = torch.ones(())  # as a gradient scaler tells it
    x.grad, y.grad = torch.ones(1), torch.full((1,), math.inf)
    assert game.propose()
    assert game.decide(0.0).reason == "never"
    assert x.item() == y.item() == 1


def test_non_finite_rejections_do_not_hide_the_escape():
    *_, game = small_game(acceptance=Strict(), r_max=2, escape="accept")
    game.decide(0.0)
    reasons = []
    for value in (1.0, 1.0, math.nan, 1.0):
        game.propose()
        reasons.append(game.decide(value).reason)
    assert reasons == ["worse", "worse", "non-finite", "escape"]


@pytest.mark.parametrize("f_old", [math.nan, math.inf])
def test_a_kept_pair_that_reads_as_non_finite_is_no_ground_to_accept(f_old):
    *_, game = small_game(acceptance=Always())
    game.decide(0.0)
    game.propose()
    assert game.decide(Estimate(0.0, f_old=f_old)).reason == "non-finite"


def test_the_guard_looks_at_moments_and_buffers_too():
    x, _, optimizer, _, game = small_game(acceptance=Always(), guard=True)
    optimizer.step()
    game.decide(0.0)
    game.propose()
    optimizer.state[x]["exp_avg_sq"].fill_(math.inf)
    assert game.decide(0.0).reason == "non-finite"
    assert optimizer.state[x]["exp_avg_sq"].isfinite().all()


def test_the_guard_takes_buffers_back():
    norm = torch.nn.BatchNorm1d(2)
    other = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    player = Player(torch.optim.Adam(norm.parameters()), norm)
    game = MinMaxGame(player, other, Always(), Restore(buffers=False), guard=True)
    game.decide(0.0)
    norm(torch.randn(8, 2)).sum().backward()
    game.propose()
    norm.running_var.fill_(math.inf)
    assert game.decide(0.0).reason == "non-finite"
    assert norm.running_var.isfinite().all()


def test_the_guard_covers_a_cycle_without_a_proposal():
    x, y, *_, game = small_game(guard=True)
    x.grad = None
    assert not game.propose()
    y.data.fill_(math.nan)
    assert game.decide(0.0).reason == "non-finite"
    assert y.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_weights_of_half_precision_are_finite(dtype):
    x = torch.nn.Parameter(torch.full((4,), 6e4, dtype=dtype))
    assert Player(torch.optim.SGD([x])).is_finite()


def test_bfloat16_autocast_trains():
    torch.manual_seed(0)
    generator, discriminator = torch.nn.Linear(4, 2), torch.nn.Linear(2, 1)
    a, b = torch.optim.Adam(generator.parameters(), 1e-2), torch.optim.Adam(discriminator.parameters(), 1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    game = MinMaxGame(a, b, ConstantRate(rate=0.3))

    def loss():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = discriminator(generator(torch.randn(32, 4))), discriminator(torch.randn(32, 2) + 2)
            return torch.nn.functional.softplus(logits[0]).mean() + torch.nn.functional.softplus(-logits[1]).mean()

    reasons = set()
    for _ in range(60):
        game.propose(lambda: scaler.step(a))
        b.zero_grad()
        value = loss()
        scaler.scale(value).backward()
        scaler.step(b)
        reasons.add(game.decide(-value).reason)
        a.zero_grad()
        scaler.scale(-loss()).backward()
        scaler.update()
    assert {"improved", "chance", "worse"} <= reasons
    assert game.min_player.is_finite()


def test_a_player_of_several_optimizers_and_modules():
    parts = [torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)]
    optimizers = [torch.optim.Adam(parts[0].parameters()), torch.optim.SGD(parts[1].parameters(), momentum=0.9)]
    other = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    game = MinMaxGame(Player(optimizers, parts), other, Never())
    game.decide(0.0)
    for _ in range(3):
        before = [t.clone() for part in parts for t in part.state_dict().values()]
        parts[1](parts[0](torch.randn(8, 2))).square().sum().backward()
        before[-3:] = [t.clone() for t in parts[1].buffers()]
        game.propose()
        parts[1](parts[0](torch.randn(8, 2)))
        game.decide(0.0)
        after = [t for part in parts for t in part.state_dict().values()]
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert not any(o.state for o in optimizers)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Restore.named("all"), "restore must be 'both' or 'generator', but got 'all'"),
        (lambda: Player([]), "optimizers must hold at least one optimizer"),
        (lambda: small_game(r_max=0), "r_max must be 1 or more rejections, or None, but got 0"),
        (lambda: small_game(escape="run"), r"escape must be one of \['stop', 'accept', 'raise'\], but got 'run'"),
        (lambda: small_game(max_nonfinite=0), "max_nonfinite must be 1 or more, but got 0"),
        (lambda: small_game()[-1].decide(), r"decide\(\) needs f_new"),
    ],
)
def test_a_bad_setting_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
