"""Whether the rules that terms name are here: who lacks one cannot say what becomes of a block.

So terms that name such a rule are no block's business where it is lacking: they are refused before
they enter one, and whoever is shown a block with them stops there instead of judging it otherwise
than those who have the rule.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from tallystick.errors import ConfigError
from tallystick.ledger.collect.rows import LIVE, TERMS, MechanismError
from tallystick.mechanisms.registry import rule_digest

if TYPE_CHECKING:
    from collections.abc import Generator

    from tallystick.ledger.state import State
    from tallystick.ledger.terms import Terms

__all__ = ["UninstalledRuleError", "check_installed", "check_live", "needing_rules"]


class UninstalledRuleError(MechanismError):
    """Terms name a rule that is not installed here, or pin another version of it."""

    slug: ClassVar[str] = "rule-not-installed"
    code: ClassVar[int] = 522


def check_installed(terms: Terms) -> None:
    """Check that each rule of the terms is here, a third party's with the digest they pin.

    Raises
    ------
    UninstalledRuleError
        Names the first that is not.
    """
    pins = {pin.rule: pin.digest for pin in terms.pins}
    for stage in (*terms.setup, *terms.round, *terms.close):
        digest = pins.get(stage.rule, b"")
        try:
            known = rule_digest(stage.rule)
        except ConfigError as error:
            hint = (
                f"install the package with source digest {digest.hex()}" if digest else error.hint
            )
            msg = f"stage '{stage.name}': the rule '{stage.rule}' is not installed here"
            raise UninstalledRuleError(msg, hint=hint) from error
        if known != digest:
            msg = f"stage '{stage.name}': the rule '{stage.rule}' here is not the one the terms pin"
            hint = f"the terms pin {digest.hex() or 'none'}, here is {known.hex() or 'a built-in'}"
            raise UninstalledRuleError(msg, hint=hint)


@contextmanager
def needing_rules() -> Generator[None]:
    """Say to whoever runs this that something has to be installed: a `ConfigError`."""
    try:
        yield
    except UninstalledRuleError as error:
        raise ConfigError(str(error), hint=error.hint) from error


def check_live(state: State) -> None:
    """Check `check_installed` for every task that goes on after ``state``.

    Raises
    ------
    UninstalledRuleError
        Names the first rule that is not here.
    """
    for task in state.get(LIVE) or ():
        terms = state.get(TERMS, task)
        if terms is not None:
            check_installed(terms)
