"""``python -m support.odd_node TRICK HOME``: a node whose application does what it should not."""

import sys

from tallystick.cli import main
from tallystick.node import engine


def tricky(trick, honest=engine.application_command):
    """Return what makes the command line of an application with a trick."""

    def command(*arguments, **settings):
        own = [sys.executable, "-m", "support.odd_application", trick]
        whole = honest(*arguments, **settings)
        return [*own, *whole[whole.index("-m") + 2 :]]

    return command


if __name__ == "__main__":
    engine.application_command = tricky(sys.argv[1])
    sys.exit(main(["node", "start", sys.argv[2]]))
