"""A guest with a read-only token, a token that is revoked, and a model that is forgotten.

The model of a demo's run is published as a pointer on a ledger of the same members and one guest:
its bytes lie encrypted with holders, one of whom serves wrong ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.crypto.hashes import blob_root, sha256
from tallystick.errors import TallyError, UnavailableError
from tallystick.federation.simulation import Federation, Setup
from tallystick.federation.trial import secret_of
from tallystick.lab.demos.checks import Check, holds, same
from tallystick.lab.demos.hand import SECOND, Hands
from tallystick.lab.demos.stories import Liar
from tallystick.lab.demos.world import scratch_folder
from tallystick.ledger.contracts import registry
from tallystick.ledger.contracts.members import active_key
from tallystick.ledger.messages import Erase, GrantToken, Publish, Read, RevokeToken
from tallystick.provenance.history import parse_signed
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.vault import Kept, Vault, read_kept

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.federation.run import Run
    from tallystick.lab.demos.world import World
    from tallystick.ledger.messages import Message
    from tallystick.tensors.spec import Blobs

__all__ = ["guest_checks"]

GUEST = "guest"
OWNER_KEY = 0  # index of a simulated member's owner key
HOUR = 3_600_000  # ms
NO_TOKEN = 433  # the code of `tallystick.ledger.contracts.access.NoTokenError`
SPENT = 423  # of `tallystick.ledger.contracts.registry.SpentPointerError`


def guest_checks(run: Run, world: World, tokens: str = "", holders: str = "") -> Iterable[Check]:
    """Yield what a guest of the run's owner may do, and what it may not.

    Parameters
    ----------
    tokens, holders
        What the ids of the checks about tokens, and about wrong bytes, begin with.
    """
    with scratch_folder() as folder:
        setup = Setup(trainers=world.trainers, outsiders=(GUEST,), durable=False)
        federation = Federation(folder, setup, world.seed)
        try:
            scene = _Scene(federation, world, folder)
            plain = (run.model_file or run.bundle).read_bytes()
            yield from scene.publish(plain, holders)
            yield from scene.overreach(tokens)
            yield from scene.revoke(tokens)
            yield from scene.expire(tokens)
            yield from scene.forget(plain, tokens)
        finally:
            federation.close()


class _Scene:
    """The owner with its vault, the guest, the ledger they share, and those who hold bytes."""

    def __init__(self, federation: Federation, world: World, folder: Path) -> None:
        self.federation = federation
        self.hands = Hands()
        self.owner = world.members[0]
        self.other = world.members[1]
        self.secret = secret_of(world.seed, GUEST, "owner")
        self.good = FileBlobs(folder / "held", durable=False)
        self.vault = Vault(folder / "vault", self.good, secret_of(world.seed, self.owner, "owner"))
        self.kept = Kept(b"", 0, b"", 0)
        self.envelope = b""

    def publish(self, plain: bytes, prefix: str) -> Iterable[Check]:
        """Point at the model, let the guest read it, from a liar first."""
        kept = self.kept = self.vault.keep(plain)
        done = self.say(
            self.owner,
            Publish(kept.digest, kept.size, kept.stored, kept.stored_size, "model"),
        )
        granted = self.say(self.owner, self.token(GUEST, HOUR))
        read = self.say(GUEST, Read(kept.digest))
        public = active_key(self.federation.engine.state, GUEST, OWNER_KEY)
        if read == 0 and public is not None:  # the owner acts on the receipt
            self.envelope = self.vault.envelope(kept, public.public)
        liar = Liar(self.good)
        yield holds(
            f"{prefix}wrong-bytes-refused",
            self.read(kept, [liar]) is None,
            "A holder that serves other bytes than the pointer names is found out by the digest.",
        )
        yield holds(
            f"{prefix}replica-served",
            (done, granted, read) == (0, 0, 0) and self.read(kept, [liar, self.good]) == plain,
            "The next holder's bytes are taken, and open to the model that the guest may read.",
        )
        bare = any(plain[:64] in self.good.open(root).tobytes() for root in self.good.roots())
        yield same(
            f"{prefix}held-encrypted", bare, expected=False, says="No holder has a plain byte."
        )

    def overreach(self, prefix: str) -> Iterable[Check]:
        """Let the guest, who may only read, try more."""
        kept = self.kept
        anew = Publish(sha256("guest"), 1, sha256("guest", b""), 41, "model", kept.digest)
        engine = self.federation.engine
        row, height = registry.pointer(engine.state, kept.digest), engine.head.height
        codes = [self.say(GUEST, message) for message in (anew, Erase(kept.digest))]
        tried = [wire for block in engine.blocks(height + 1) for wire in block.transactions]
        yield same(
            f"{prefix}read-only-cannot-update",
            codes[0],
            NO_TOKEN,
            "A guest whose token is for reading tries to put another version in its place.",
        )
        yield same(
            f"{prefix}read-only-cannot-delete", codes[1], NO_TOKEN, "It tries to delete the model."
        )
        yield holds(
            f"{prefix}attempt-recorded",
            [parse_signed(wire).sender for wire in tried] == [GUEST] * len(codes)
            and registry.pointer(engine.state, kept.digest) == row,
            "Both attempts are in blocks, with these codes, and the pointer is as it was.",
        )

    def revoke(self, prefix: str) -> Iterable[Check]:
        """Take the token back; the bytes get another key."""
        self.say(self.owner, self.token(self.other, HOUR))
        kept = self.kept
        anew = self.vault.rotate(kept)
        done = self.say(
            self.owner,
            RevokeToken(kept.digest, GUEST, "read", anew.stored, anew.stored_size),
        )
        codes = [done, *(self.say(each, Read(kept.digest)) for each in (GUEST, self.other))]
        yield same(
            f"{prefix}revoked-fails-next-block",
            str(codes),
            str([0, NO_TOKEN, 0]),
            "In the next block the revoked token is refused; another member's still serves.",
        )
        yield holds(
            f"{prefix}revoked-keys-rotated",
            self.read(anew, [self.good]) is None and self.read(kept, [self.good]) is None,
            "The key that the guest had opens nothing that is still held.",
        )
        self.kept = anew

    def expire(self, prefix: str) -> Iterable[Check]:
        """Let a token run out."""
        self.say(self.owner, self.token(GUEST, 3 * SECOND))
        codes = [self.say(GUEST, Read(self.kept.digest), wait) for wait in (SECOND, 3 * SECOND)]
        yield same(
            f"{prefix}token-expires",
            str(codes),
            str([0, NO_TOKEN]),
            "A token serves until its time, and not after it.",
        )

    def forget(self, plain: bytes, prefix: str) -> Iterable[Check]:
        """Destroy the key and put a tombstone on the pointer."""
        kept = self.kept
        erased = self.say(self.owner, Erase(kept.digest))
        self.vault.destroy(kept)
        row = registry.pointer(self.federation.engine.state, kept.digest)
        codes = [erased, *(self.say(each, Read(kept.digest)) for each in (self.other, self.owner))]
        yield same(
            f"{prefix}tombstone",
            str(codes),
            str([0, SPENT, SPENT]),
            "Under a tombstone nobody is handed the key any more, token or not.",
        )
        yield holds(
            f"{prefix}shredded-is-unreadable",
            self.key_is_gone() and self.good.has(kept.stored),
            "The key is destroyed: the bytes that are still held are open to nobody, their owner "
            "included.",
        )
        yield holds(
            f"{prefix}shredded-root-stays",
            row.erased and blob_root(plain) == kept.digest,
            "The ledger's digest still names the plain bytes: whoever kept a copy can prove it.",
        )

    def key_is_gone(self) -> bool:
        """Whether not even the owner has an envelope with the key."""
        try:
            self.vault.envelope(self.kept)
        except UnavailableError:
            return True
        return False

    def token(self, subject: str, lasts: int) -> GrantToken:
        """Return a token to read the model."""
        until = self.federation.engine.head.time + lasts
        return GrantToken(self.kept.digest, subject, "read", until)

    def say(self, member: str, message: Message, wait: int = SECOND) -> int:
        """Send one message in a block of its own; return its code."""
        engine = self.federation.engine
        sent = self.hands.send(self.federation, member, message)
        engine.seal_pending(engine.head.time + wait)
        found = engine.outcome(sent)
        return -1 if found is None else found.code

    def read(self, kept: Kept, holders: list[Blobs]) -> bytes | None:
        """Return what the guest can read, `None` if nothing."""
        try:
            return read_kept(kept, self.envelope, self.secret, holders)
        except TallyError:
            return None
