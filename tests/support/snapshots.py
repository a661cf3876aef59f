"""Snapshots between fake CometBFTs: followed, read chunk by chunk, and begun with."""

from __future__ import annotations

from support.fake_comet import Decision
from tallystick.consensus.cometbft import snapshots

__all__ = ["begin", "chunks_of", "files_of", "follow", "join_chunks"]


def follow(outcome, *comets):
    header = outcome.header
    for each in comets:
        each.apply(Decision(header.height, header.time, outcome.block.transactions))
        each.app.snapshots.wait()


def files_of(comet):
    folder = comet.app.path.with_name("snapshots")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def join_chunks(chunks, height, root):
    """Return the rows and the header in the chunks of a snapshot, as whoever takes them in does."""
    coming = snapshots._Coming(height, root)
    for chunk in chunks:
        coming.take(chunk)
    header = snapshots._whole(coming)
    return coming.rows, header


def chunks_of(comet, snapshot):
    load = comet.chunk_of(snapshot)
    return [load(index) for index in range(snapshot.chunks)]


def begin(newcomer, comet, *, sources=None, snapshot=None, root=None):
    """Let a newcomer take in the newest snapshot of another one."""
    snapshot = snapshot or comet.snapshots()[0]
    root = comet.hashes[snapshot.height] if root is None else root
    sources = sources or {"good": comet.chunk_of(snapshot)}
    return newcomer.begin_with(snapshot, sources, root, comet.power)
