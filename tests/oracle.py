"""The algorithm written a second time, plainly, in numpy: nothing of it comes from the package.

The game: f(x, y) = ½ x·Ax + x·By − ½ y·Cy + sin(x₀), with noise added to the gradients and to f.
"""

import copy

import numpy as np


class Game:
    def __init__(self, size=3, seed=0):
        random = np.random.default_rng(seed)
        self.a, self.b, self.c = random.normal(size=(3, size, size))
        self.a, self.c = self.a @ self.a.T / 4, self.c @ self.c.T
        self.x0, self.y0 = random.normal(size=(2, size))

    def value(self, x, y):
        return 0.5 * x @ self.a @ x + x @ self.b @ y - 0.5 * y @ self.c @ y + np.sin(x[0])

    def gradient_x(self, x, y):
        gradient = self.a @ x + self.b @ y
        gradient[0] += np.cos(x[0])
        return gradient

    def gradient_y(self, x, y):
        return self.b.T @ x - self.c @ y


class Adam:
    """Kingma and Ba's, as it stands in the paper; ``sign`` −1 descends, +1 ascends."""

    def __init__(self, lr, sign, beta1=0.5, beta2=0.9, epsilon=1e-8):
        self.lr, self.sign, self.beta1, self.beta2, self.epsilon = lr, sign, beta1, beta2, epsilon
        self.state = {}

    def step(self, point, gradient):
        state = self.state
        state.setdefault("m", np.zeros_like(point))
        state.setdefault("v", np.zeros_like(point))
        state["t"] = state.get("t", 0) + 1
        gradient = -self.sign * gradient
        state["m"] = self.beta1 * state["m"] + (1 - self.beta1) * gradient
        state["v"] = self.beta2 * state["v"] + (1 - self.beta2) * gradient**2
        m = state["m"] / (1 - self.beta1 ** state["t"])
        v = state["v"] / (1 - self.beta2 ** state["t"])
        return point - self.lr * m / (np.sqrt(v) + self.epsilon)


class Momentum:
    """Gradient descent with heavy-ball momentum, as torch writes it."""

    def __init__(self, lr, sign, momentum=0.8):
        self.lr, self.sign, self.momentum = lr, sign, momentum
        self.state = {}

    def step(self, point, gradient):
        gradient = -self.sign * gradient
        old = self.state.get("b")
        self.state["b"] = gradient if old is None else self.momentum * old + gradient
        return point - self.lr * self.state["b"]


def play(
    game,
    optimizer,
    k,
    cycles,
    decide,
    noise,
    draws,
    read,
    restore_y=True,
    restore_moments=True,
    update_reference_on_reject=False,
):
    """Yield (x, y, accepted) after each decision.

    ``noise(cycle)`` gives the cycle's perturbations: of the min gradient and of the k max gradients.
    ``decide(index, f_old, f_new, draw)`` says whether the proposal is kept; ``draws`` are its uniform
    numbers. ``read`` estimates f: see the classes below.
    """
    x, y = game.x0.copy(), game.y0.copy()
    min_optimizer, max_optimizer = optimizer(0.05, sign=-1), optimizer(0.1, sign=+1)
    gradient, kept_value = None, None
    for cycle in range(cycles):
        of_gradient, of_ascent = noise(cycle)
        kept = x, y, copy.deepcopy(min_optimizer.state), copy.deepcopy(max_optimizer.state)
        again = None
        if gradient is not None:
            again = read.before(game.value(x, y))
            x = min_optimizer.step(x, gradient)
        for step in range(k):
            y = max_optimizer.step(y, game.gradient_y(x, y) + of_ascent[step])
        f_new = read.after(game.value(x, y))
        f_old = kept_value if again is None else again
        accepted = gradient is None or decide(cycle, f_old, f_new, draws[cycle])
        read.settle(incumbent_is_known=accepted or restore_y)
        if accepted or update_reference_on_reject:
            kept_value = f_new
        if not accepted:
            x = kept[0]
            if restore_moments:
                min_optimizer.state = kept[2]
            if restore_y:
                y = kept[1]
                if restore_moments:
                    max_optimizer.state = kept[3]
        gradient = game.gradient_x(x, y) + of_gradient
        yield x, y, accepted


class Fresh:
    """f with the noise of the next ``batches`` evaluations, averaged; f_old is the value that was kept."""

    def __init__(self, noise_of, batches=1):
        self.noise_of, self.batches, self.number = noise_of, batches, 0

    def evaluate(self, value):
        numbers = range(self.number, self.number + self.batches)
        self.number += self.batches
        return np.mean([value + self.noise_of(n) for n in numbers])

    def before(self, value):
        return None

    def after(self, value):
        return self.evaluate(value)

    def settle(self, incumbent_is_known):
        pass


class Reread(Fresh):
    """f_old is read again before each proposal, on batches of its own."""

    def before(self, value):
        return self.evaluate(value)


class Paired(Fresh):
    """f_old and f_new on the same batches."""

    def before(self, value):
        self.start = self.number
        return self.evaluate(value)

    def after(self, value):
        self.number = getattr(self, "start", self.number)
        return self.evaluate(value)


class Held(Fresh):
    """Both values on one batch, for ``hold`` decisions; a new one where the incumbent is none that was read."""

    def __init__(self, noise_of, hold):
        super().__init__(noise_of)
        self.hold, self.decisions = hold, hold

    def before(self, value):
        if self.decisions >= self.hold:
            self.number, self.decisions = self.number + 1, 0
        return value + self.noise_of(self.number - 1)

    def after(self, value):
        return self.before(value)

    def settle(self, incumbent_is_known):
        self.decisions = self.decisions + 1 if incumbent_is_known else self.hold
