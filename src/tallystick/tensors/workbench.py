"""Everything that attested rules ask of tensors, streamed and remembered.

A result is a function of roots, so it is computed once per process, however many members share the
workbench. Work runs over runs of neighbouring parameters with one dtype and exponent, cut into
chunks; memory is bounded by the chunk, whatever the size of the model or the number of updates.

Geometry is that of float tensors only: with exponents that differ, a product counts
``Σ 4^(e - e_min) · q · q'``, in squares of the finest step. Integer tensors (counters, indices)
have no common unit with them and stay out; their values are range-checked like all others.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from tallystick.errors import ConfigError, DecodeError, InvariantError
from tallystick.tensors.arithmetic import gram, max_abs, mean_rows, squared_norms
from tallystick.tensors.dtypes import RAW, Array, check_denormals, present
from tallystick.tensors.layout import Layout, Segment, layout_of, update_parameters
from tallystick.tensors.model import ModelFile, open_model
from tallystick.tensors.paging import drop_pages
from tallystick.tensors.spec import Blobs, ModelSpec
from tallystick.tensors.streaming import (
    BLOCK,
    CHUNK,
    chunk_length,
    cuts,
    finest_exponent,
    stream,
)
from tallystick.tensors.update import apply_slice, difference_slice

__all__ = ["RANGE", "SHAPE", "Combine", "Workbench"]

Combine = Callable[[tuple[Array, ...], Any], Array]
T = TypeVar("T")

SHAPE, RANGE = "shape", "range"  # what can be wrong with an update
DEFAULT_LIMIT = 2**30 - 1
REMEMBERED = 4096


class Workbench:
    """Checks, measures and combines the updates kept in a store.

    Parameters
    ----------
    blobs
        Where models and updates are, and where new models go.
    threads
        Threads for large models; results do not depend on it.
    """

    def __init__(self, blobs: Blobs, threads: int | None = None) -> None:
        """Remember nothing yet."""
        self.blobs = blobs
        self.threads = threads if threads is not None else min(4, os.cpu_count() or 1)
        self._known: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.RLock()  # one member computes, the others find the result

    def check_update(
        self, root: bytes, size: int, spec: ModelSpec, limit: int = DEFAULT_LIMIT
    ) -> str:
        """Return what is wrong with an update: ``"shape"``, ``"range"`` or nothing.

        Parameters
        ----------
        root, size
            The update's blob; of size 0 it is no update, and so of the wrong shape.
        limit
            The largest absolute value it may hold.

        Raises
        ------
        UnavailableError
            The blob is not here.
        """
        largest = self._largest(root, size, spec) if size else None
        if largest is None:
            return SHAPE
        return RANGE if largest > limit else ""

    def largest(self, roots: Sequence[bytes], spec: ModelSpec) -> int:
        """Return the largest absolute value in any of these updates; 0 of none."""
        return max((self._bound(root, spec) for root in roots), default=0)

    def norms(self, roots: Sequence[bytes], spec: ModelSpec) -> tuple[int, ...]:
        """Return the exact squared norm of each update.

        Raises
        ------
        UnavailableError
            A blob is not here.
        ConfigError
            A blob is no update of such a model.
        """
        return tuple(
            self._remember(
                ("norm", root, spec.parameters), lambda root=root: self._norm(root, spec)
            )
            for root in roots
        )

    def gram(self, roots: Sequence[bytes], spec: ModelSpec) -> tuple[tuple[int, ...], ...]:
        """Return the exact products of all pairs of updates; raises as `norms` does."""
        if not roots:
            return ()
        distinct = tuple(sorted(set(roots)))
        products = self._remember(
            ("gram", distinct, spec.parameters), lambda: self._gram(distinct, spec)
        )
        place = {root: at for at, root in enumerate(distinct)}
        return tuple(tuple(products[place[a]][place[b]] for b in roots) for a in roots)

    def gram_with(
        self, roots: Sequence[bytes], spec: ModelSpec, weights: Hashable, combine_fn: Combine
    ) -> tuple[tuple[int, ...], ...]:
        """Return the exact products of all pairs of updates and, last, of their combination.

        As `gram` of n + 1 updates, of which the last one is what ``combine_fn`` makes of the
        others; its values have to fit 32 bits. Raises as `norms` does.
        """
        key = ("gram-with", tuple(roots), spec.parameters, weights, _identity(combine_fn))
        return self._remember(
            key, lambda: self._gram(roots, spec, lambda rows: combine_fn(rows, weights))
        )

    def change(self, before: bytes, after: bytes, spec: ModelSpec) -> tuple[bytes, int] | None:
        """Write the update that leads from one model to another; return its root and size.

        `None` when one of the blobs is no model of these parameters, or the change would not fit
        32 bits.

        Raises
        ------
        UnavailableError
            A blob is not here.
        """
        key = ("change", before, after, spec.parameters)
        with self._lock:
            known = self._known.get(key)
            if known is not None and not self.blobs.has(known[0]):
                del self._known[key]
            return self._remember(key, lambda: self._change(before, after, spec))

    def mix(
        self, roots: Sequence[bytes], spec: ModelSpec, weights: Sequence[int], divisor: int
    ) -> tuple[bytes, int]:
        """Write the rounded weighted mean of some updates as an update; return its root and size.

        Weights and divisor are those of `mean_rows`, with a sum that is at most the divisor. Raises
        as `norms` does.
        """
        updates = [self._values(root, spec) for root in roots]

        def pieces() -> Iterator[Array]:
            step = chunk_length(len(roots))
            for start in range(0, len(updates[0]), step):
                rows = [update[start : start + step] for update in updates]
                yield mean_rows(rows, weights, divisor).astype(np.int32)
                for row in rows:
                    drop_pages(row)

        written = self._write_update(spec, pieces())
        if written is None:
            msg = "a mean has no missing piece"
            raise InvariantError(msg)
        return written

    def combine(
        self,
        parent: tuple[bytes, int],
        spec: ModelSpec,
        roots: Sequence[bytes],
        weights: Hashable,
        combine_fn: Combine,
    ) -> tuple[bytes, int]:
        """Write the parent plus the combined updates; return the new model's root and size.

        Parameters
        ----------
        parent
            Root and size of the model that the updates build on.
        roots
            The updates, in the order of the weights.
        combine_fn
            ``combine_fn(rows, weights)`` takes n read-only int32 vectors of shape (d,), which
            `numpy.stack` makes a matrix, and returns int64 of shape (d,). Columns are
            independent: how they are cut must not matter.

        Raises
        ------
        NonFiniteError
            A parameter of the new model would not be finite; nothing is kept.
        UnavailableError
            A blob is not here.
        ConfigError
            A blob is not of this model's shape, or the process flushes denormals.
        """
        rule = _identity(combine_fn)
        key = ("combine", parent, spec.parameters, tuple(roots), weights, rule)
        with self._lock:
            if key in self._known and not self.blobs.has(self._known[key][0]):
                del self._known[key]
            return self._remember(
                key, lambda: self._combine(parent, spec, roots, weights, combine_fn)
            )

    def preview(
        self, parent: tuple[bytes, int], spec: ModelSpec, *roots: bytes
    ) -> dict[str, Array]:
        """Return the parent's tensors by name, with the mean of the updates applied if any.

        Raises
        ------
        NonFiniteError, UnavailableError, ConfigError
            As in `combine`.
        """
        model = self._model(parent, spec)
        if not roots:
            return model.arrays()
        changed = np.empty(model.layout.size, np.uint8)
        updates = [self._values(root, spec) for root in roots]
        for segment, start, stop in cuts(model.layout, chunk_length(len(roots))):
            rows = [update[start:stop] for update in updates]
            combined = mean_rows(rows, [1] * len(rows), len(rows))
            first, last = _bytes_of(segment, start, stop)
            changed[first:last] = _apply(model, segment, start, stop, combined).view(np.uint8)
            for row in rows:
                drop_pages(row)
            drop_pages(model.data[first:last])
        updated = ModelFile(changed, model.layout)
        return {each.name: present(updated.raw(each.name), each.dtype) for each in spec.parameters}

    def _combine(
        self,
        parent: tuple[bytes, int],
        spec: ModelSpec,
        roots: Sequence[bytes],
        weights: Hashable,
        combine_fn: Combine,
    ) -> tuple[bytes, int]:
        if not roots:
            msg = "there is nothing to combine"
            raise InvariantError(msg)
        model = self._model(parent, spec)
        updates = [self._values(root, spec) for root in roots]
        chunk = chunk_length(len(roots))

        def work(cut: tuple[Segment, int, int]) -> list[Array]:
            check_denormals()  # a thread's own setting
            segment, start, stop = cut
            parts: list[Array] = []
            for low in range(start, stop, chunk):
                high = min(low + chunk, stop)
                rows = tuple(update[low:high] for update in updates)
                combined = _checked(combine_fn(rows, weights), high - low)
                parts.append(_apply(model, segment, low, high, combined))
                for row in rows:
                    drop_pages(row)
                drop_pages(model.data[slice(*_bytes_of(segment, low, high))])
            return parts

        writer = self.blobs.create()
        try:
            writer.write(np.frombuffer(model.layout.prefix, np.uint8))
            for parts in stream(self.threads, work, list(cuts(model.layout, BLOCK))):
                for part in parts:
                    writer.write(part)
        except BaseException:
            writer.abort()
            raise
        return writer.commit()

    def _norm(self, root: bytes, spec: ModelSpec) -> int:
        bound = self._bound(root, spec)
        values = self._values(root, spec)
        layout = layout_of(spec.parameters)
        finest = finest_exponent(layout)
        total = 0
        for segment, low, high in cuts(layout, CHUNK):
            if segment.is_float:
                square = squared_norms(values[np.newaxis, low:high], bound)[0]
                total += square << (2 * (segment.exponent - finest))
                drop_pages(values[low:high])
        return total

    def _gram(
        self,
        roots: Sequence[bytes],
        spec: ModelSpec,
        combined: Callable[[tuple[Array, ...]], Array] | None = None,
    ) -> tuple[tuple[int, ...], ...]:
        bound = self.largest(roots, spec)
        updates = [self._values(root, spec) for root in roots]
        layout = layout_of(spec.parameters)
        finest = finest_exponent(layout)
        chunk = chunk_length(len(roots))

        def work(cut: tuple[Segment, int, int]) -> Array:
            segment, start, stop = cut
            total = np.array(0, object)
            for low in range(start, stop, chunk):
                rows = tuple(update[low : min(low + chunk, stop)] for update in updates)
                limit = bound
                if combined is not None:
                    made = _checked(combined(rows), len(rows[0])).astype(np.int32)
                    rows, limit = (*rows, made), max(bound, max_abs(made))
                total = total + np.array(gram(rows, limit), object)
                for row in rows[: len(updates)]:
                    drop_pages(row)
            return total << (2 * (segment.exponent - finest))

        size = len(roots) + (combined is not None)
        total = np.zeros((size, size), object)
        pieces = [cut for cut in cuts(layout, BLOCK) if cut[0].is_float]
        for part in stream(self.threads, work, pieces):
            total += part
        return tuple(map(tuple, total.tolist()))

    def _change(self, before: bytes, after: bytes, spec: ModelSpec) -> tuple[bytes, int] | None:
        check_denormals()
        try:
            old, new = (
                open_model(self.blobs.open(each), spec.parameters) for each in (before, after)
            )
        except DecodeError:
            return None

        def pieces() -> Iterator[Array | None]:
            for segment, start, stop in cuts(old.layout, CHUNK):
                first, last = _bytes_of(segment, start, stop)
                parts = [model.data[first:last].view(RAW[segment.dtype]) for model in (old, new)]
                yield difference_slice(parts[0], parts[1], segment.dtype, segment.exponent)
                for part in parts:
                    drop_pages(part)

        return self._write_update(spec, pieces())

    def _write_update(
        self, spec: ModelSpec, pieces: Iterable[Array | None]
    ) -> tuple[bytes, int] | None:
        """Write an update file of int32 pieces; `None`, and nothing kept, where one is missing."""
        writer = self.blobs.create()
        try:
            prefix = layout_of(update_parameters(spec.parameters)).prefix
            writer.write(np.frombuffer(prefix, np.uint8))
            for piece in pieces:
                if piece is None:
                    writer.abort()
                    return None
                writer.write(piece)
        except BaseException:
            writer.abort()
            raise
        return writer.commit()

    def _largest(self, root: bytes, size: int, spec: ModelSpec) -> int | None:
        """Return the largest absolute value of an update; `None` if it is of another shape."""

        def measure() -> int | None:
            layout = layout_of(update_parameters(spec.parameters))
            data = self.blobs.open(root)
            if len(data) != layout.size or not _starts(data, layout):
                return None
            values = _flat(data, layout)
            largest = 0
            for at in range(0, len(values), CHUNK):
                largest = max(largest, max_abs(values[at : at + CHUNK]))
                drop_pages(values[at : at + CHUNK])
            return largest

        found: int | None = self._remember(("largest", root, spec.parameters), measure)
        expected = layout_of(update_parameters(spec.parameters)).size
        return found if size == expected else None

    def _bound(self, root: bytes, spec: ModelSpec) -> int:
        size = layout_of(update_parameters(spec.parameters)).size
        largest = self._largest(root, size, spec)
        if largest is None:
            msg = f"blob {root.hex()} is no update of this model"
            raise ConfigError(msg)
        return largest

    def _model(self, parent: tuple[bytes, int], spec: ModelSpec) -> ModelFile:
        model = open_model(self.blobs.open(parent[0]), spec.parameters)
        if model.layout.size != parent[1]:
            msg = f"model {parent[0].hex()} has {model.layout.size} bytes, not {parent[1]}"
            raise DecodeError(msg)
        return model

    def _values(self, root: bytes, spec: ModelSpec) -> Array:
        """Return an update's values as one flat int32 vector, a view."""
        self._bound(root, spec)
        layout = layout_of(update_parameters(spec.parameters))
        return _flat(self.blobs.open(root), layout)

    def _remember(self, key: Hashable, compute: Callable[[], T]) -> T:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            found = self._known[key] = compute()
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return found


def _identity(combine_fn: Combine) -> Hashable:
    """Return what tells two combiners apart: a bound method is another object every time."""
    return (getattr(combine_fn, "__func__", combine_fn), getattr(combine_fn, "__self__", None))


def _apply(model: ModelFile, segment: Segment, start: int, stop: int, combined: Array) -> Array:
    first, last = _bytes_of(segment, start, stop)
    raw = model.data[first:last].view(RAW[segment.dtype])
    return apply_slice(raw, combined, segment.dtype, segment.exponent)


def _bytes_of(segment: Segment, start: int, stop: int) -> tuple[int, int]:
    width = RAW[segment.dtype].itemsize
    origin = segment.offset - segment.start * width
    return origin + start * width, origin + stop * width


def _checked(combined: Array, columns: int) -> Array:
    if combined.dtype != np.int64 or combined.shape != (columns,):
        msg = f"a combined row is int64 of {columns}, not {combined.dtype} of {combined.shape}"
        raise InvariantError(msg)
    return combined


def _starts(data: Array, layout: Layout) -> bool:
    return data[: len(layout.prefix)].tobytes() == layout.prefix


def _flat(data: Array, layout: Layout) -> Array:
    return data[len(layout.prefix) :].view(RAW["I32"])
