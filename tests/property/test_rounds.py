"""Random histories: whatever members do, every promise of the rounds holds.

Each history is one recipe and one seed. After every block the money is counted from its rows, the
block is applied again to a state rebuilt from its rows, and the log is hashed from its leaves; now
and then the records that wait are permuted. At the end `Chaos` checks that the task ended, left
nothing behind, paid nobody twice and fined nobody who was there.
"""

import pytest
from support.chaos import PERSONAS, Chaos
from support.play import Play
from support.terms import RECIPES
from support.world import World

FEW, MANY = 8, 100


@pytest.mark.parametrize("seed", range(FEW))
@pytest.mark.parametrize("recipe", RECIPES)
def test_any_history_ends_well(recipe, seed):
    chaos = Chaos(recipe, seed)

    chaos.run()


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
@pytest.mark.parametrize("recipe", RECIPES)
def test_hundreds_of_histories_end_well(recipe, block):
    for seed in range(FEW + block * MANY // 10, FEW + (block + 1) * MANY // 10):
        Chaos(recipe, seed).run()


@pytest.mark.parametrize("recipe", RECIPES)
def test_without_anybody_misbehaving_every_round_completes(recipe):
    play = Play(World(), RECIPES[recipe](rounds=3))

    assert play.finish() == "done"
    assert play.voids() == []
    assert play.forfeited() == 0
    assert play.row.dozing == ()


def test_the_histories_cover_what_they_are_meant_to():
    seen, codes, windows = set(), set(), set()
    for recipe in RECIPES:
        for seed in range(FEW):
            chaos = Chaos(recipe, seed, audited=False)
            seen |= set(chaos.personas.values())
            chaos.run()
            codes |= {error.code for each in chaos.world.outcomes for _, error in each.refused}
            windows |= {type(note).__name__ for note in chaos.play.notes()}
            seen |= {chaos.play.status, "void round" if chaos.play.voids() else ""}
            seen |= {"permuted" if chaos.shuffled else ""}

    assert seen >= {*PERSONAS, "done", "void", "void round", "permuted"}
    assert codes >= {411, 503, 504, 505, 507, 508, 509, 510, 512}
    assert windows >= {"Forfeited", "Paid", "Attested", "Advanced", "Finished", "Shut"}
