"""Giving mapped pages back once they have been used.

A blob is read through a memory map, whose pages stay resident until somebody needs the memory. For
models that are large against it, and for many members in one process, that counts: after a pass
over a slice its pages are dropped, and read again from the page cache should they be needed.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from tallystick.tensors.dtypes import Array

__all__ = ["drop_pages"]

DROP = getattr(mmap, "MADV_DONTNEED", None)  # absent on Windows


def drop_pages(data: Array) -> None:
    """Drop the resident pages that lie wholly inside ``data``, if it views a mapped file."""
    if DROP is None or not data.nbytes:
        return
    first: Array = data
    owner = cast("object", data.base)
    while isinstance(owner, np.ndarray):
        first = cast("Array", owner)
        owner = cast("object", first.base)
    if isinstance(owner, memoryview):
        owner = owner.obj
    if not isinstance(owner, mmap.mmap):
        return
    page = mmap.PAGESIZE
    offset = data.__array_interface__["data"][0] - first.__array_interface__["data"][0]
    start = -(-offset // page) * page
    length = (offset + data.nbytes) // page * page - start
    if length > 0:
        owner.madvise(DROP, start, length)
