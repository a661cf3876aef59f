"""However uploads, restarts and reads interleave, a shelf is a dictionary of bytes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.shelves import KEY

from tallystick.crypto.hashes import CHUNK_BYTES, blob_root
from tallystick.errors import UnavailableError
from tallystick.storage.shelf import OffsetError, QuotaError, Shelf

TASKS = (b"t" * 32, b"u" * 32)
BLOBS = [
    np.random.default_rng(size).bytes(size)
    for size in (1, 7, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 9)
]
QUOTA = 3 * CHUNK_BYTES
tasks, datas = st.sampled_from(TASKS), st.sampled_from(BLOBS)
members = st.sampled_from(["ada", "bob"])


class ShelfMachine(RuleBasedStateMachine):
    """A shelf beside a dictionary that says for each task and blob who began it and how far."""

    @initialize(key=st.sampled_from([b"", KEY]))
    def open(self, key):
        self.folder = tempfile.TemporaryDirectory()
        self.key = key
        self.model = {}
        self.shelf = Shelf(Path(self.folder.name), key=key, quota_bytes=QUOTA)

    @rule()
    def restart(self):
        self.shelf.close()
        self.shelf = Shelf(Path(self.folder.name), key=self.key, quota_bytes=QUOTA)

    @rule(task=tasks, data=datas, member=members, skip=st.sampled_from([0, 0, 0, 1, -1]))
    def append(self, task, data, member, skip):
        begun_by, held = self.model.get((task, data), (member, 0))
        offset = max(0, held + skip * CHUNK_BYTES)
        chunk = data[offset : offset + CHUNK_BYTES]
        request = task, blob_root(data), len(data), member, offset, chunk
        if held == len(data):
            assert self.shelf.append(*request) == held
        elif offset != held:
            with pytest.raises(OffsetError) as misplaced:
                self.shelf.append(*request)
            assert misplaced.value.offset == held
        elif (task, data) not in self.model and self.used(task, member) + len(data) > QUOTA:
            with pytest.raises(QuotaError) as full:
                self.shelf.append(*request)
            assert (full.value.used, full.value.quota) == (self.used(task, member), QUOTA)
        else:
            assert self.shelf.append(*request) == held + len(chunk)
            self.model[task, data] = begun_by, held + len(chunk)

    @precondition(lambda self: self.unfinished())
    @rule(pick=st.integers(0), cut=st.integers(1, CHUNK_BYTES))
    def crash(self, pick, cut):
        """Restart with one part's last chunk torn."""
        task, data = self.unfinished()[pick % len(self.unfinished())]
        begun_by, held = self.model[task, data]
        self.shelf.close()
        part = Path(self.folder.name) / task.hex() / f"{blob_root(data).hex()}.part"
        os.truncate(part, held - cut)
        self.restart()
        self.model[task, data] = begun_by, held - CHUNK_BYTES

    @rule(task=tasks, data=datas, cut=st.tuples(st.floats(0, 1), st.floats(0, 1)))
    def read(self, task, data, cut):
        start, end = (int(part * len(data)) for part in sorted(cut))
        if self.model.get((task, data), ("", 0))[1] == len(data):
            found = b"".join(self.shelf.read(task, blob_root(data), start, end - start))

            assert found == data[start:end]
            return
        with pytest.raises(UnavailableError):
            self.shelf.read(task, blob_root(data), start, end - start)

    @rule(task=tasks)
    def drop(self, task):
        self.shelf.drop(task)
        self.model = {key: value for key, value in self.model.items() if key[0] != task}

    @rule()
    def tidy(self):
        self.shelf.tidy(-1)
        self.model = {key: value for key, value in self.model.items() if value[1] == len(key[1])}

    @invariant()
    def agrees(self):
        for task in TASKS:
            for data in BLOBS:
                progress = self.shelf.progress(task, blob_root(data))
                told = progress and (progress.member, progress.offset)

                assert told == self.model.get((task, data))
            for member in ("ada", "bob"):
                assert self.shelf.used(task, member) == self.used(task, member)
            assert self.shelf.blobs(task) == sorted(
                (blob_root(data), len(data), member)
                for (of, data), (member, held) in self.model.items()
                if of == task and held == len(data)
            )

    def unfinished(self):
        return sorted(key for key, (_, held) in self.model.items() if 0 < held < len(key[1]))

    def used(self, task, member):
        return sum(
            len(data) for (of, data), (by, _) in self.model.items() if (of, by) == (task, member)
        )

    def teardown(self):
        if hasattr(self, "shelf"):
            self.shelf.close()
            self.folder.cleanup()


TestShelf = ShelfMachine.TestCase
TestShelf.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_an_upload_whose_only_chunk_a_crash_tore_goes_on_within_its_own_quota(tmp_path):
    data, task = BLOBS[-1], TASKS[0]
    root = blob_root(data)
    shelf = Shelf(tmp_path / "shelf", quota_bytes=QUOTA)
    shelf.append(task, root, len(data), "ada", 0, data[:CHUNK_BYTES])
    shelf.close()
    part = tmp_path / "shelf" / task.hex() / f"{root.hex()}.part"
    os.truncate(part, CHUNK_BYTES - 1)
    shelf = Shelf(tmp_path / "shelf", quota_bytes=QUOTA)

    assert (shelf.used(task, "ada"), shelf.progress(task, root).offset) == (len(data), 0)
    assert shelf.append(task, root, len(data), "ada", 0, data[:CHUNK_BYTES]) == CHUNK_BYTES
    shelf.close()
