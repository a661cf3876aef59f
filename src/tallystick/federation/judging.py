"""How a member's scores become its opinion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tallystick.federation.desk import training_seed

if TYPE_CHECKING:
    from tallystick.federation.conduct import Conduct, Knowledge
    from tallystick.mechanisms.records import Opinion
    from tallystick.mechanisms.rule import Inputs

__all__ = ["judge"]

SCORING = 2  # keeps these dice apart from those that updates are poisoned with


def judge(opinion: Opinion, inputs: Inputs, conduct: Conduct, knowledge: Knowledge) -> Opinion:
    """Return an opinion as a member's conduct gives it, with holes for its own work.

    Parameters
    ----------
    opinion
        Its vector ends with one score a subject of ``inputs``, in their order.
    """
    me, subjects = knowledge.member, inputs.subjects
    seed = training_seed(inputs.key.task, inputs.key.round, me)
    dice = np.random.default_rng([seed, SCORING])
    vector = conduct.poison_scores(list(opinion.vector), subjects, dice, knowledge)
    head = len(vector) - len(subjects)
    scores = (
        None if subject.author == me else score
        for subject, score in zip(subjects, vector[head:], strict=True)
    )
    return msgspec.structs.replace(opinion, vector=(*vector[:head], *scores))
