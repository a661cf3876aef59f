"""Random rounds for aggregation rules, small enough for hundreds of them."""

import numpy as np

from support.updates import Round
from tallystick.mechanisms.draws import ticket
from tallystick.mechanisms.registry import make_rule


class Case:
    """Updates as a round may see them: honest ones with odd data, and some liars."""

    def __init__(self, number, least=5):
        self.generator = np.random.default_rng([7, number])
        self.n = int(self.generator.integers(least, 15))
        self.f = int(self.generator.integers(0, (self.n - 1) // 3 + 1))
        width = int(self.generator.integers(3, 40))
        size = 2.0 ** self.generator.integers(8, 20)
        common = self.generator.standard_normal(width)
        honest = common + 0.7 * self.generator.standard_normal((self.n, width))
        liars = self.generator.choice(self.n, self.f, replace=False)
        honest[liars] *= self.generator.choice([-1, -4, 3, 20], (self.f, 1))
        self.rows = np.rint(size * honest)
        self.size = float(np.abs(self.rows).max())

    def fold(self, rule, *, refs=None, **settings):
        """What the rule makes of the rows, in steps."""
        stage = Round(self.rows.shape[1], kind=np.float64)
        subjects = [stage.update(f"m{at:02}", row) for at, row in enumerate(self.rows)]
        named = {
            name: [stage.update(a, row) for a, row in rows] for name, rows in (refs or {}).items()
        }
        made = make_rule(f"aggregate/{rule}/1", settings)
        output = made.fold((), stage.inputs(*subjects, refs=named))
        return output.void or np.array(stage.steps(output), float)

    def order_of_tickets(self):
        names = [f"m{at:02}" for at in range(self.n)]
        return sorted(range(self.n), key=lambda at: ticket(b"beacon", Round.key, names[at]))
