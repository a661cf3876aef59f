"""A member's data sets on the ledger: a commitment to one, and what may be spent of it in all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.codec import decode
from tallystick.crypto.hashes import BlobHasher, sha256
from tallystick.errors import ConfigError
from tallystick.ledger.contracts import budgets, registry
from tallystick.ledger.messages import DeclareBudget, RegisterDataset
from tallystick.storage.files import chunks_of, open_regular

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.federation.acting import Acting
    from tallystick.ledger.state import State

__all__ = ["commitment_to", "declare_budget", "own_dataset", "own_datasets"]

READ_BYTES = 1 << 20


def commitment_to(path: Path, salt: bytes) -> bytes:
    """Return the root a member registers for a file: of its bytes and the member's own secret.

    The same file has the same root, and nobody without the secret can try whether it is this one.

    Raises
    ------
    ConfigError
        The file cannot be read.
    """
    hasher = BlobHasher()
    with open_regular(path, "name the file that the member trains on") as file:
        for piece in chunks_of(file, READ_BYTES):
            hasher.update(piece)
    return sha256("dataset", salt, hasher.root)


def declare_budget(
    acting: Acting, root: bytes, epsilon_nanos: int, delta_picos: int
) -> budgets.Budget:
    """Register a data set unless it is, and declare its budget; a budget can be lowered later.

    Raises
    ------
    RejectedError
        It is another member's, or the budget would be raised.
    """
    if registry.dataset(acting.state, root) is None:
        acting.act(RegisterDataset(root, 0))
    acting.act(DeclareBudget(root, epsilon_nanos, delta_picos))
    return budgets.check_budget(acting.state, acting.name, root)


def own_datasets(state: State, member: str) -> list[bytes]:
    """Return the roots of a member's data sets that have a budget, sorted."""
    owned = [
        decode(tuple[bytes], key[1:])[0]
        for key, row in state.rows_of(registry.DATASETS)
        if row.owner == member
    ]
    return [root for root in owned if budgets.budget(state, member, root) is not None]


def own_dataset(state: State, member: str, wanted: str = "") -> bytes:
    """Return the data set that a member's private records are charged to; empty if it has none.

    Parameters
    ----------
    wanted
        Its root in hex, or how that begins; needed where the member has several.

    Raises
    ------
    ConfigError
        None or several fit.
    """
    known = own_datasets(state, member)
    fitting = [root for root in known if root.hex().startswith(wanted.lower())]
    if len(fitting) == 1 or not (known or wanted):
        return fitting[0] if fitting else b""
    listed = ", ".join(root.hex()[:16] for root in known) or "none"
    msg = f"'{member}' has {len(fitting)} data sets that fit '{wanted}'"
    raise ConfigError(msg, hint=f"say which with --dataset: {listed}")
