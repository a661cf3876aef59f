"""``python -m support.next_program VERB…``: ``tally``, knowing the protocol's next version."""

import sys

from support.odd_application import next_protocol
from tallystick.cli import main

if __name__ == "__main__":
    next_protocol()
    sys.exit(main())
