from __future__ import annotations

import asyncio

from tallystick.node.bell import Bell


def test_whoever_waits_hears_of_the_next_block():
    async def wait():
        bell = Bell(3)
        bell.bind(asyncio.get_running_loop())
        waiting = asyncio.create_task(bell.above(3, 10))
        await asyncio.sleep(0)
        bell.ring(4)
        return await waiting

    assert asyncio.run(wait())


def test_nobody_waits_for_what_is_there_or_beyond_the_time_given():
    async def wait():
        bell = Bell(3)
        return await bell.above(2, 10), await bell.above(3, 0.01), len(bell._waiting)

    assert asyncio.run(wait()) == (True, False, 0)


def test_nobody_more_waits_than_may():
    async def wait():
        bell = Bell(3, most=2)
        waiting = [asyncio.create_task(bell.above(3, 10)) for _ in range(2)]
        await asyncio.sleep(0)
        full, third = bell.is_full, await asyncio.wait_for(bell.above(3, 10), 1)
        bell.close()
        return full, third, [await each for each in waiting]

    assert asyncio.run(wait()) == (True, False, [False, False])
