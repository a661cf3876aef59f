"""``python -m support.odd_member VERB…``: ``tally`` whose member attests wrong aggregates."""

import sys
from functools import partial

from tallystick.cli import main
from tallystick.federation import seat
from tallystick.lab.attacks.wrong_aggregate import WrongAggregate

if __name__ == "__main__":
    seat.Habits = partial(seat.Habits, conduct=WrongAggregate())
    sys.exit(main())
