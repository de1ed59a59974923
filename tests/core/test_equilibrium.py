import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from minmax_plugin.equilibrium import certify, solve

BOX = (-5.0, 5.0)


def f1(x, y):
    return -3 * x**2 - y**2 + 4 * x * y


def f2(x, y):
    return 3 * x**2 + y**2 + 4 * x * y


def f3(x, y):
    return (4 * x**2 - (y - 3 * x + 0.05 * x**3) ** 2 - 0.1 * y**4) * torch.exp(-0.01 * (x**2 + y**2))


def follow(x, y):
    return -0.5 * (y - x) ** 2


def product(x, y):
    return x * y


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def scripted(moves):
    """A proposal that makes the moves one after another."""
    rest = iter(moves)
    return lambda x, y, f, generator: torch.full_like(x, next(rest))


# function, start, settings of the ascent, how near 0 the x of an equilibrium is
KNOWN = {
    "F1": (f1, 5.5, {}, 0.1),
    "F3": (f3, 5.5, {}, 0.1),
    "xy": (product, 5.0, dict(bounds=BOX, eta=1.0, max_ascent_steps=20_000), 0.05),
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("tau", [None, 3.0])
@pytest.mark.parametrize("name", KNOWN)
def test_solve_finds_the_known_equilibrium_and_it_is_certified(name, tau, seed):
    f, start, ascent, near = KNOWN[name]
    solution = solve(f, scalar(start), scalar(start), tau=tau, seed=seed, **ascent)
    assert solution.stopped
    assert abs(solution.x.item()) < near
    assert solution.value == f(solution.x, solution.y).item()
    certificate = certify(f, solution.x, solution.y, samples=100, seed=seed, **ascent)
    assert certificate.holds
    assert certificate.reason == "equilibrium"
    assert certificate.gradient_norm <= 0.001
    assert certificate.bound < 0.1


class Plain:
    """Algorithm 1 a second time, in numpy, with every ascent to its end: nothing of it comes from the package.

    The game: f(x, y) = ½ x·Ax + x·By − ½ y·Cy + sin(x₀), with C positive definite.
    """

    def __init__(self):
        random = np.random.default_rng(3)
        self.a, self.b, self.c = random.normal(size=(3, 2, 2))
        self.a, self.c = self.a @ self.a.T, self.c @ self.c.T + np.eye(2)
        self.x, self.y = random.normal(size=(2, 2))

    def value(self, x, y):
        return 0.5 * x @ self.a @ x + x @ self.b @ y - 0.5 * y @ self.c @ y + np.sin(x[0])

    def gradient_x(self, x, y):
        return self.a @ x + self.b @ y + np.array([np.cos(x[0]), 0.0])

    def ascend(self, x, y, eta, tolerance, low, high):
        while True:
            gradient = self.b.T @ x - self.c @ y
            stays = ~((y <= low) & (gradient < 0) | (y >= high) & (gradient > 0))
            if np.sqrt(((gradient * stays) ** 2).sum()) <= tolerance:
                return y
            y = np.minimum(np.maximum(y + eta * gradient, low), high)

    def solve(self, draws, r_max, eta=0.05, epsilon=0.001, min_decrease=0.0075, tau=None, lipschitz=None,
              step_size=None, sigma=0.5, bounds=(-np.inf, np.inf)):  # fmt: skip
        low, high = bounds
        shrink = 1.0 if lipschitz is None else 1 - 2 * eta * lipschitz
        epsilon_i = epsilon if lipschitz is None else epsilon / 2
        x, y = self.x, self.ascend(self.x, self.y, eta, min(epsilon_i / shrink, epsilon), low, high)
        f_old, r, i = self.value(x, y), 0, 0
        path, kinds = [(x, y)], []
        while r <= r_max:
            normal, uniform = draws()
            v = sigma * normal - (0 if step_size is None else step_size * self.gradient_x(x, y))
            x_new = np.minimum(np.maximum(x + v, low), high)
            y_new = self.ascend(x_new, y, eta, min(epsilon_i / shrink, epsilon), low, high)
            f_new = self.value(x_new, y_new)
            improved = f_new <= f_old - min_decrease
            chance = tau is not None and uniform < np.exp(-i / tau)
            if improved or chance:
                x, y, f_old, r = x_new, y_new, f_new, 0
                epsilon_i /= shrink**2
            else:
                r += 1
            kinds.append("improved" if improved else "chance" if chance else "rejected")
            path.append((x, y))
            i += 1
        return path, kinds


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({}, {"improved", "rejected"}),
        ({"tau": 5.0}, {"improved", "chance", "rejected"}),
        ({"lipschitz": 0.2}, {"improved", "rejected"}),
        ({"lipschitz": 5.0, "tau": 5.0}, {"improved", "chance", "rejected"}),
        ({"bounds": (-1.5, 1.2), "tau": 5.0}, {"improved", "chance", "rejected"}),
        ({"proposal": "gradient", "step_size": 0.1, "sigma": 0.1}, {"improved", "rejected"}),
        ({"min_decrease": 0.2, "epsilon": 0.05, "eta": 0.1, "sigma": 1.0}, {"improved", "rejected"}),
    ],
)
def test_every_step_equals_the_plain_implementation(settings, kinds):
    plain = Plain()
    a, b, c = (torch.from_numpy(m) for m in (plain.a, plain.b, plain.c))
    random = torch.Generator().manual_seed(7)

    def draws():
        normal = torch.randn(2, generator=random, dtype=torch.float64).numpy()
        return normal, torch.rand((), generator=random).item()

    expected, decisions = plain.solve(draws, 15, **{k: v for k, v in settings.items() if k != "proposal"})
    calls = 0

    def f(x, y):
        nonlocal calls
        calls += 1
        return 0.5 * x @ a @ x + x @ b @ y - 0.5 * y @ c @ y + x[0].sin()

    x, y = torch.from_numpy(plain.x), torch.from_numpy(plain.y)
    solution = solve(f, x, y, r_max=15, seed=7, record=True, **settings)
    assert set(decisions) == kinds
    assert solution.reason == "equilibrium"
    assert solution.iterations == len(decisions)
    assert solution.accepted == sum(kind != "rejected" for kind in decisions)
    for i, side in enumerate(solution.path):
        np.testing.assert_allclose(side.numpy(), [pair[i] for pair in expected], rtol=1e-9, atol=1e-12)
    assert solution.values == calls == solution.gradients_x + solution.gradients_y
    assert solution.gradients_x == (solution.iterations if settings.get("proposal") == "gradient" else 0)


def test_the_schedule_starts_below_epsilon_and_ends_there():
    settings = dict(eta=0.05, epsilon=0.01, lipschitz=1.0, tau=1e9, max_iterations=5, record=True)
    solution = run(lambda x, y: -0.5 * (y - x) ** 2, proposal=scripted([1.0] * 5), y=5.0, **settings)
    x, y = solution.path
    # The start and proposal 0, then proposals 1, 2, …: ε/2 (1 − 2ηL)^−(2i + 1), up to ε. The last step of an
    # ascent shrinks the gradient by 1 − η.
    expected = np.minimum(0.005 / 0.9 ** np.array([1, 1, 3, 5, 7, 9]), 0.01)
    norms = (x - y).abs().numpy()
    assert (norms <= expected).all()
    assert (norms > 0.95 * expected).all()


def run(f, x=1.0, y=1.0, **settings):
    return solve(f, scalar(x), scalar(y), **settings)


@pytest.mark.parametrize(
    ("reason", "solution"),
    [
        ("unbounded", lambda: run(f2, 5.5, 5.5)),
        ("unbounded", lambda: run(lambda x, y: x + y.exp())),  # overflows within a step
        ("unbounded", lambda: run(lambda x, y: x + y, limit=10.0)),
        ("ascent did not converge", lambda: run(lambda x, y: x + y, max_ascent_steps=100)),
        # η above 2/L: y runs away, and f falls without end, which must not look like a good proposal
        ("ascent did not converge", lambda: run(lambda x, y: x - 50 * y**2)),
        ("non-finite", lambda: run(lambda x, y: (x + y) * math.nan)),
        ("non-finite", lambda: run(lambda x, y: y.log(), y=-1.0)),
        ("max_iterations", lambda: run(f1, 5.5, 5.5, max_iterations=3)),
        # one step is as many as it may take, and is enough
        ("max_iterations", lambda: run(follow, y=5.0, eta=1.0, max_ascent_steps=1, max_iterations=3)),
    ],
)
def test_what_is_not_converged_is_not_reported_as_converged(reason, solution):
    solution = solution()
    assert solution.reason == reason
    assert not solution.stopped


def test_a_proposal_that_settles_nothing_ends_the_search_at_the_last_kept_pair():
    solution = run(lambda x, y: torch.where(x < 0.9, x - 1e-3 * (y - 9) ** 2, x - y**2), max_ascent_steps=100)
    assert solution.reason == "ascent did not converge"
    assert solution.x >= 0.9
    assert abs(solution.y.item()) < 0.001


def test_a_proposal_with_an_unbounded_answer_is_rejected_even_by_chance():
    def f(x, y):
        return torch.where(x.abs() < 1, -(y**2), y.exp())

    solution = run(f, 0.5, 0.1, tau=1e9, max_iterations=100, record=True)
    assert 0 < solution.accepted < solution.iterations
    assert solution.path[0].abs().max() < 1


def test_bounds_hold_for_both_players_and_their_sides_are_stationary():
    low, high = torch.tensor([-1.0, -2.0]), torch.tensor([2.0, 1.0])
    solution = solve(
        lambda x, y: (x * x).sum() + x[0] + y.sum(),
        torch.tensor([2.0, 1.0]),
        torch.tensor([0.0, 0.0]),
        bounds=(low, high),
        sigma=3.0,
        record=True,
    )
    for side in solution.path:
        assert ((low <= side) & (side <= high)).all()
    assert solution.stopped
    assert torch.equal(solution.y, high)
    assert (solution.path[0] == low).any()
    assert certify(lambda x, y: (x * x).sum() + y.sum(), torch.zeros(2), high, bounds=(low, high)).gradient_norm == 0


def test_a_callable_proposes_and_its_evaluations_count():
    seen = []

    def proposal(x, y, f, generator):
        seen.append(f(x, y).item())
        return -0.5 * x * torch.rand((), generator=generator)

    solution = run(f1, 5.5, 5.5, proposal=proposal, r_max=5)
    assert solution.stopped
    assert len(seen) == solution.iterations
    assert solution.values == solution.gradients_y + solution.iterations
    assert seen[-1] == solution.value


# At (1, 2) F1 is 1 and its ascent from any y ends at x². With δ = 0.03 a move to 0.9 improves, to 0.99 does not.
@pytest.mark.parametrize("improved", [0, 1, 3, 4, 5, 100])
def test_certify_counts_the_proposals_that_improve_and_bounds_their_probability(improved):
    from scipy.stats import beta

    moves = [-0.1] * improved + [-0.01, 0.5] * 50
    certificate = certify(f1, scalar(1.0), scalar(2.0), proposal=scripted(moves[:100]))
    assert (certificate.improved, certificate.samples, certificate.share) == (improved, 100, improved / 100)
    # Clopper and Pearson by the quantile of the beta distribution
    bound = 1.0 if improved == 100 else beta.ppf(0.95, improved + 1, 100 - improved)
    assert certificate.bound == pytest.approx(bound, rel=1e-9)
    assert certificate.holds == (improved <= 4)
    assert certificate.reason == ("equilibrium" if improved <= 4 else "bound not below omega")


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: torch.where(x < 1, x * math.nan, -(y**2) + 0 * x),
        lambda x, y: torch.where(x < 1, 1e-4 * (y - 1000) - 1, -(y**2)),
        lambda x, y: torch.where(x < 1, -50 * (y - 1) ** 2, -(y**2)),
    ],
    ids=["not finite", "stationary below", "running away"],
)
def test_certify_counts_what_it_cannot_tell_as_improved(f):
    certificate = certify(f, scalar(1.0), scalar(0.0), proposal=scripted([-0.5] * 10 + [0.5] * 90))
    assert certificate.improved == 10
    assert not certificate.holds


def test_certify_refuses_what_is_not_an_equilibrium():
    steep = certify(f1, scalar(1.0), scalar(1.0))
    assert (steep.holds, steep.reason, steep.gradient_norm) == (False, "gradient above epsilon", 2.0)
    assert (steep.samples, steep.bound) == (0, 1.0)
    assert math.isnan(steep.share)
    assert certify(f1, scalar(1.0), scalar(1.0), epsilon=2.0).samples == 100  # at most ε it may be
    improvable = certify(f1, scalar(2.0), scalar(4.0))
    assert (improvable.holds, improvable.reason) == (False, "bound not below omega")
    assert 0.3 < improvable.share < 0.7
    undefined = certify(lambda x, y: x * y.log(), scalar(1.0), scalar(-1.0))
    assert (undefined.holds, undefined.reason) == (False, "non-finite")


def test_the_notion_is_of_the_first_order():
    assert certify(f2, scalar(0.0), scalar(0.0)).holds


def test_random_streams_are_their_own():
    def drawn(call, **settings):
        moves = []

        def proposal(x, y, f, generator):
            moves.append(torch.randn((), generator=generator).item())
            return torch.zeros_like(x)

        call(f1, scalar(0.0), scalar(0.0), proposal=proposal, **settings)
        return moves

    outside = torch.get_rng_state()
    assert drawn(solve, seed=1) == drawn(solve, seed=1) != drawn(solve, seed=2)
    assert drawn(certify, seed=1) == drawn(certify, seed=1) != drawn(certify, seed=2)
    assert not set(drawn(solve, seed=1)) & set(drawn(certify, seed=1))
    assert torch.equal(torch.get_rng_state(), outside)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (dict(eta=0.0), "eta must be above 0 and finite, but got 0.0"),
        (dict(eta="0.1"), "eta must be above 0 and finite, but got '0.1'"),
        (dict(seed=True), "seed must be a whole number of 64 bits, but got True"),
        (dict(epsilon=math.nan), "epsilon must be above 0 and finite, but got nan"),
        (dict(max_ascent_steps=0), "max_ascent_steps must be above 0 and finite, but got 0"),
        (dict(limit=math.inf), "limit must be above 0 and finite, but got inf"),
        (dict(sigma=-1.0), "sigma must be 0 or more and finite, but got -1.0"),
        (dict(step_size=0), "step_size must be above 0 and finite, but got 0"),
        (dict(proposal="uniform"), "proposal must be 'gaussian', 'gradient' or a callable, but got 'uniform'"),
        (dict(proposal=lambda *_: 1.0), r"proposal must return a tensor of x's shape \(\), but returned 1.0"),
        (dict(x=1), "x must be a finite floating-point tensor, but got 1"),
        (dict(x=torch.tensor(1)), r"x must be a finite floating-point tensor, but got tensor\(1\)"),
        (dict(y=scalar(math.inf)), "y must be a finite floating-point tensor"),
        (dict(y=torch.tensor(1.0)), "y must have the dtype and device of x, but got torch.float32 on cpu"),
        (dict(bounds=(1.0, -1.0)), r"bounds must have low below high, but got \(1.0, -1.0\)"),
        (dict(bounds=(-1.0, 0.5)), r"x must lie within bounds \(-1.0, 0.5\), but got tensor\(1., dtype"),
        (dict(bounds=(0.0, 1.0, 2.0)), r"bounds must be \(low, high\), numbers or tensors that broadcast to x"),
        (dict(bounds=(torch.zeros(2), 2.0)), r"bounds must be \(low, high\), numbers or tensors that broadcast to x"),
        (dict(f=lambda x, y: 1.0), "f must return a tensor with one element, but returned 1.0"),
        (dict(f=lambda x, y: x.detach()), "f must be differentiable in y by autograd"),
        (dict(f=lambda x, y: (x * y).detach()), "f must be differentiable in y by autograd"),
        (dict(max_ascent_steps=1e4), "max_ascent_steps must be a whole number of 64 bits, but got 10000.0"),
        (dict(seed=2**63), "seed must be a whole number of 64 bits, but got 9223372036854775808"),
        (dict(f=lambda x, y: y.expand(2)), "f must return a tensor with one element, but returned tensor"),
    ],
)
@pytest.mark.parametrize("call", [solve, certify])
def test_a_bad_argument_is_named_with_its_value(call, setting, message):
    settings = dict(f=lambda x, y: -((x - y) ** 2), x=scalar(1.0), y=scalar(1.0)) | setting
    with pytest.raises(ValueError, match=message):
        call(settings.pop("f"), settings.pop("x"), settings.pop("y"), **settings)


@pytest.mark.parametrize(
    ("call", "setting", "message"),
    [
        (solve, dict(min_decrease=-0.1), "min_decrease must be 0 or more and finite, but got -0.1"),
        (solve, dict(tau=0), "tau must be above 0 and finite, but got 0"),
        (solve, dict(r_max=-1), "r_max must be 0 or more and finite, but got -1"),
        (solve, dict(max_iterations=0), "max_iterations must be above 0 and finite, but got 0"),
        (solve, dict(lipschitz=10.0), r"lipschitz must be 0 or more and below 1/\(2 eta\) = 10, but got 10.0"),
        (certify, dict(delta=0.0), "delta must be above 0 and finite, but got 0.0"),
        (certify, dict(omega=1.0), "omega must be between 0 and 1, but got 1.0"),
        (certify, dict(confidence=95), "confidence must be between 0 and 1, but got 95"),
        (certify, dict(samples=100.0), "samples must be a whole number of 64 bits, but got 100.0"),
        (certify, dict(omega=1e-17), "samples must be [0-9]+ or more to show omega=1e-17"),
        (certify, dict(samples=28), "samples must be 29 or more to show omega=0.1 with confidence=0.95, but got 28"),
    ],
)
def test_a_bad_setting_of_one_of_them_is_named_with_its_value(call, setting, message):
    with pytest.raises(ValueError, match=message):
        call(f1, scalar(1.0), scalar(1.0), **setting)


def test_the_fewest_samples_suffice():
    assert certify(f1, scalar(0.0), scalar(0.0), samples=29).holds


def test_scipy_is_needed_only_to_certify(monkeypatch):
    code = "import sys, minmax_plugin.equilibrium; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ImportError, match=r"certify\(\) needs scipy: pip install 'minmax-plugin\[theory\]'"):
        certify(f1, scalar(0.0), scalar(0.0))
