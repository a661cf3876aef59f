"""One stage about updates to a small model, for tests of rules on tensors."""

import numpy as np

from tallystick.mechanisms.records import ROUND, Key, Output, Subject
from tallystick.mechanisms.rule import Inputs
from tallystick.tensors.memory import MemoryBlobs
from tallystick.tensors.model import model_bytes, read_model, write_model
from tallystick.tensors.spec import ModelSpec
from tallystick.tensors.workbench import Workbench


class Round:
    """A model of one tensor, and updates to it as a submit stage lists them."""

    key = Key(task=bytes(32), phase=ROUND, round=1, stage="screen", group="")

    def __init__(self, width: int, start: float = 0.0, kind: type = np.float32):
        self.blobs = MemoryBlobs()
        self.spec: ModelSpec = write_model({"w": np.full(width, start, kind)}, self.blobs.create())
        self.bench = Workbench(self.blobs, 1)

    def update(self, author: str, values: object, weight: int = 1, **fields: object) -> Subject:
        data = model_bytes({"w": np.asarray(values, np.int32)})
        root, size = self.blobs.put(data)
        settings = {"columns": (size, weight), "parent": self.spec.root} | fields
        return Subject(root, author, **settings)

    def inputs(self, *subjects: Subject, refs=None, **fields: object) -> Inputs:
        return Inputs(
            key=self.key,
            beacon=b"beacon",
            of=(Output(tuple(subjects)),),
            refs={name: Output(tuple(listed)) for name, listed in (refs or {}).items()},
            parent=(self.spec.root, self.spec.size),
            model=self.spec,
            workbench=self.bench,
            **fields,
        )

    def steps(self, output: Output) -> list[int]:
        """The new model in steps of 2^-24."""
        (made,) = output.subjects
        assert made.columns == (len(self.blobs.open(made.id)),)
        assert made.parent == self.spec.root
        values = read_model(self.blobs.open(made.id)).arrays()["w"]
        return (values * 2.0**24).astype(int).tolist()
