"""Tell a block that is wrong from one whose rules are not installed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.errors import ConfigError, RejectedError
from tallystick.ledger.messages import ProposeTask
from tallystick.ledger.transaction import parse_transaction
from tallystick.mechanisms.registry import rule_digest

if TYPE_CHECKING:
    from tallystick.ledger.block import Block
    from tallystick.ledger.kernel import Kernel

__all__ = ["check_installed"]


def check_installed(kernel: Kernel, block: Block) -> None:
    """Say so when what failed is that a third party's rule is not installed here.

    Raises
    ------
    ConfigError
        Names the rule.
    """
    for wire in block.transactions:
        try:
            message = parse_transaction(wire, kernel.limits).body.message
        except RejectedError:
            return
        if not isinstance(message, ProposeTask):
            continue
        terms = message.terms
        for stage in (*terms.setup, *terms.round, *terms.close):
            digest = {pin.rule: pin.digest for pin in terms.pins}.get(stage.rule, b"")
            try:
                known = rule_digest(stage.rule)
            except ConfigError:
                known = None
            if known != digest:
                msg = f"the rule '{stage.rule}' that this ledger's tasks use is not installed here"
                hint = f"install the package with source digest {digest.hex()}" if digest else ""
                raise ConfigError(msg, hint=hint)
