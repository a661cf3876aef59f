"""How verbs get at a network: a node's address, and what the user knows about its ledger."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallystick.cli.output import warn

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tallystick.federation.acting import Acting
    from tallystick.ledger.genesis import Role

__all__ = ["Reach", "facts_of"]


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a node is, by which way, and which genesis its ledger has to have."""

    url: str
    ca: Path | None = None
    proxy: str | None = None
    genesis: str = ""

    @contextmanager
    def open(self, key_folder: Path | None = None, role: Role = "owner") -> Generator[Acting]:
        """Open the network for an act or a look; see `Acting.open`.

        What was taken on the node's word is said on standard error, to be compared.
        """
        from tallystick.federation.acting import Acting

        with Acting.open(
            [self.url],
            key_folder=key_folder,
            ca=self.ca,
            proxy=self.proxy,
            genesis=self.genesis,
            role=role,
        ) as acting:
            if acting.trusted:
                line = f"{acting.trusted} is what {acting.client.url} says; compare it with what"
                warn(f"{line} was published, and pin it with --genesis")
            yield acting


def facts_of(acting: Acting, document: str) -> dict[str, Any]:
    """Return what every document about a ledger begins with."""
    engine = acting.engine
    return {
        "format": document,
        "ok": True,
        "chain_id": engine.genesis.name,
        "genesis": engine.kernel.chain,
        "height": engine.head.height,
    }
