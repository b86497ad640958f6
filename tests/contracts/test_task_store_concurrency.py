"""The contract of `TaskStore`, on every kind of store: many ask at once, and each step is one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

from tests.support.task_stores import (
    DUE,
    FUTURE,
    HOUR,
    LONG,
    TaskStores,
    a_command,
    a_job,
    an_offer,
    claimed,
    ended,
    every_hour,
    expire,
    joined,
    listed_jobs,
    now_of,
    refused,
    run_of,
    started,
    status_of,
    tick,
)

from bgtasks.contracts import TaskStore
from bgtasks.policies import Overlap
from bgtasks.records import Claimed, Refusal, Refused, RunQuery, RunStatus

STORES = 4
TASKS = 16


async def several(stores: TaskStores) -> list[TaskStore]:
    """Stores as so many processes have them."""
    return [await stores.store() for _ in range(STORES)]


async def at_once[T](stores: list[TaskStore], ask: Callable[[int, TaskStore], Awaitable[T]]) -> list[T]:
    """What each of many tasks is answered, spread over the stores; they begin together."""
    begin = asyncio.Event()

    async def one(place: int) -> T:
        await begin.wait()
        return await ask(place, stores[place % len(stores)])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(place), name=f"bgtasks-test-{place}") for place in range(TASKS)]
        begin.set()
    return [task.result() for task in tasks]


async def test_each_tick_is_claimed_once(stores: TaskStores) -> None:
    each_of = await several(stores)
    jobs = [await each_of[0].add(a_job()) for _ in range(50)]
    sessions = [await joined(each_of[place % STORES], "tidy") for place in range(TASKS)]

    async def ask(place: int, store: TaskStore) -> list[Claimed]:
        wanted = [tick(job, following=FUTURE) for job in jobs]
        Random(place).shuffle(wanted)
        had = list[Claimed]()
        for begin in range(0, len(wanted), 10):
            answers = await store.claim(sessions[place], wanted[begin : begin + 10])
            had += [answer for answer in answers if isinstance(answer, Claimed)]
        return had

    had = await at_once(each_of, ask)

    claims = [claim for claims in had for claim in claims]
    assert Counter(claim.job_id for claim in claims) == Counter(job.id for job in jobs)
    rows = await each_of[0].runs(RunQuery(limit=1000))
    assert {(row.id, row.session, row.token) for row in rows} == {
        (claim.run_id, sessions[place], claim.token) for place, claims in enumerate(had) for claim in claims
    }
    assert len(rows) == 50


async def test_a_claim_that_is_sent_many_times_is_one_run(stores: TaskStores) -> None:
    each_of = await several(stores)
    session, job = await joined(each_of[0]), await each_of[0].add(a_job())
    wanted = tick(job)

    answers = await at_once(each_of, lambda _, store: store.claim(session, [wanted]))

    assert len({claimed(answer) for [answer] in answers}) == 1
    assert len(await each_of[0].runs(RunQuery())) == 1


async def test_no_run_begins_beside_another(stores: TaskStores) -> None:
    each_of = await several(stores)
    job = await each_of[0].add(a_job())
    sessions = [await joined(each_of[0]) for _ in range(TASKS)]

    async def ask(place: int, store: TaskStore) -> bool:
        offer = an_offer(job)
        await store.offer(offer)
        [answer] = await store.accept(sessions[place], [(offer.run_id, False)])
        return isinstance(answer, Claimed)

    assert sum(await at_once(each_of, ask)) == 1


async def test_tokens_are_never_shared(stores: TaskStores) -> None:
    each_of = await several(stores)
    job = await each_of[0].add(a_job())
    sessions = [await joined(each_of[0]) for _ in range(TASKS)]

    async def ask(place: int, store: TaskStore) -> int:
        offer = an_offer(job)
        await store.offer(offer)
        [answer] = await store.accept(sessions[place], [(offer.run_id, True)])
        return claimed(answer).token

    tokens = await at_once(each_of, ask)

    assert len(set(tokens)) == TASKS
    assert (await now_of(each_of[0], job)).token == max(tokens)


async def test_an_offer_is_accepted_once(stores: TaskStores) -> None:
    each_of = await several(stores)
    job = await each_of[0].add(a_job())
    await each_of[0].offer(an_offer(job, run_id="r"))
    sessions = [await joined(each_of[0]) for _ in range(TASKS)]

    answers = await at_once(each_of, lambda place, store: store.accept(sessions[place], [("r", True)]))

    [had] = [place for place, [answer] in enumerate(answers) if isinstance(answer, Claimed)]
    for place, [answer] in enumerate(answers):
        if place != had:
            refused(answer, Refusal.TAKEN)
    assert (await run_of(each_of[0], "r")).session == sessions[had]


async def test_one_tick_waits_however_many_come(stores: TaskStores) -> None:
    each_of = await several(stores)
    session, job = await joined(each_of[0], "tidy"), await each_of[0].add(a_job(next_run_at=FUTURE))
    await started(each_of[0], session, job, following=FUTURE)

    answers = await at_once(
        each_of,
        lambda _, store: store.claim(session, [tick(job, following=FUTURE, overlap=Overlap.QUEUE)]),
    )

    refusals = [answer.why for [answer] in answers if isinstance(answer, Refused)]
    assert Counter(refusals) == {Refusal.QUEUED: 1, Refusal.BUSY: TASKS - 1}
    assert len((await each_of[0].beat(session, LONG, 0.0)).offers) == 1


async def test_what_is_lost_is_told_once(stores: TaskStores) -> None:
    each_of = await several(stores)
    dying = await joined(each_of[0])
    runs = [await started(each_of[0], dying, await each_of[0].add(a_job())) for _ in range(20)]
    sessions = [await joined(each_of[0], "tidy") for _ in range(TASKS)]
    await expire(each_of[0], dying)

    beats = await at_once(each_of, lambda place, store: store.beat(sessions[place], LONG, 0.0))

    told = [row.id for beat in beats for row in beat.lost]
    assert sorted(told) == sorted(run.run_id for run in runs)
    offers = (await each_of[0].beat(sessions[0], LONG, 0.0)).offers
    assert sorted(each.run_id for each in offers) == sorted(f"{run.run_id}~2" for run in runs)


async def test_a_run_is_either_finished_or_lost(stores: TaskStores) -> None:
    each_of = await several(stores)
    dying, watcher = await joined(each_of[0]), await joined(each_of[0], "tidy")
    runs = [await started(each_of[0], dying, await each_of[0].add(a_job())) for _ in range(TASKS)]
    await expire(each_of[0], dying)

    async def ask(place: int, store: TaskStore) -> tuple[bool, list[str]]:
        if place % 8 == 7:
            return False, [row.id for row in (await store.beat(watcher, LONG, 0.0)).lost]
        return (await store.finish([ended(runs[place])]))[0], []

    answers = await at_once(each_of, ask)

    told = [run for _, lost in answers for run in lost]
    assert len(told) == len(set(told))
    for (kept, _), run in zip(answers, runs, strict=True):
        status = await status_of(each_of[0], run.run_id)
        assert status is (RunStatus.SUCCESS if kept else RunStatus.LOST if run.run_id in told else status)
        assert not (kept and run.run_id in told)


async def test_an_ending_counts_once_however_often_it_is_said(stores: TaskStores) -> None:
    each_of = await several(stores)
    session, job = await joined(each_of[0], "tidy"), await each_of[0].add(a_job())
    run = await started(each_of[0], session, job)
    ending = ended(run, RunStatus.FAILED, again=True)

    answers = await at_once(each_of, lambda _, store: store.finish([ending]))

    assert [list(each) for each in answers] == [[True]] * TASKS
    assert (await now_of(each_of[0], job)).failures == 1
    assert len((await each_of[0].beat(session, LONG, 0.0)).offers) == 1


async def test_failures_are_all_counted(stores: TaskStores) -> None:
    each_of = await several(stores)
    session, job = await joined(each_of[0]), await each_of[0].add(a_job())
    for each in range(TASKS):
        await each_of[0].offer(an_offer(job, run_id=f"{each}"))
    answers = await each_of[0].accept(session, [(f"{each}", True) for each in range(TASKS)])
    runs = [claimed(answer) for answer in answers]

    await at_once(each_of, lambda place, store: store.finish([ended(runs[place], RunStatus.FAILED)]))

    assert (await now_of(each_of[0], job)).failures == TASKS


async def test_a_key_is_had_by_one_job(stores: TaskStores) -> None:
    each_of = await several(stores)

    answers = await at_once(each_of, lambda _, store: store.add(a_job(key="k")))

    assert len({job.id for job in answers}) == 1
    assert list(await each_of[0].jobs()) == answers[:1]


async def test_one_change_of_a_reading_is_made(stores: TaskStores) -> None:
    each_of = await several(stores)
    job = await each_of[0].add(a_job())

    answers = await at_once(each_of, lambda place, store: store.change(replace(job, reason=f"{place}")))

    [made] = [answer for answer in answers if answer is not None]
    assert await each_of[0].job(job.id) == made
    assert made.version == 2


async def test_a_job_is_removed_once(stores: TaskStores) -> None:
    each_of = await several(stores)
    job = await each_of[0].add(a_job(key="k"))

    assert sum(await at_once(each_of, lambda _, store: store.remove(job.id))) == 1


async def test_a_job_that_is_removed_meanwhile_leaves_nothing_that_is_due(stores: TaskStores) -> None:
    each_of = await several(stores)
    session, job = await joined(each_of[0], "tidy"), await each_of[0].add(a_job(key="k"))

    async def ask(place: int, store: TaskStore) -> None:
        if place == TASKS // 2:
            await store.remove(job.id)
        elif place % 2:
            await store.offer(an_offer(job))
        else:
            await store.claim(session, [tick(job)])

    await at_once(each_of, ask)

    told = await each_of[0].beat(session, LONG, 1e9)
    assert (told.due, told.offers) == ((), ())
    assert list(await each_of[0].jobs()) == []
    running = await each_of[0].runs(RunQuery(statuses=(RunStatus.RUNNING,)))
    assert told.unwanted == tuple(run.id for run in running)


async def test_a_run_is_either_accepted_or_withdrawn(stores: TaskStores) -> None:
    each_of = await several(stores)
    session = await joined(each_of[0], "tidy")
    jobs = [await each_of[0].add(every_hour(next_run_at=None)) for _ in range(TASKS // 2)]
    for n, each in enumerate(jobs):
        await each_of[0].offer(an_offer(each, run_id=f"{n}"))

    async def ask(place: int, store: TaskStore) -> bool:
        run_id = f"{place // 2}"
        if place % 2:
            return await store.withdraw(run_id, "why")
        [answer] = await store.accept(session, [(run_id, False)])
        return isinstance(answer, Claimed)

    had = await at_once(each_of, ask)

    for n, job in enumerate(jobs):
        accepted, withdrawn = had[2 * n : 2 * n + 2]
        assert accepted is not withdrawn
        assert await status_of(each_of[0], f"{n}") is (RunStatus.RUNNING if accepted else RunStatus.SKIPPED)
        assert ((await now_of(each_of[0], job)).next_run_at is None) is accepted


async def test_a_plain_interval_begins_once_its_wanted_runs_are_withdrawn(stores: TaskStores) -> None:
    each_of = await several(stores)
    job = await each_of[0].add(every_hour(next_run_at=None))
    for each in range(TASKS):
        await each_of[0].offer(an_offer(job, run_id=f"{each // 2}"))

    had = await at_once(each_of, lambda place, store: store.withdraw(f"{place // 2}", "why"))

    assert sum(had) == TASKS // 2
    now = await now_of(each_of[0], job)
    assert now.next_run_at is not None
    assert now.version == job.version + 1


async def test_a_job_that_is_over_is_either_wanted_or_forgotten(stores: TaskStores) -> None:
    each_of = await several(stores)
    jobs = [await each_of[0].add(a_job(next_run_at=None, last_run_at=DUE)) for _ in range(TASKS)]

    async def ask(place: int, store: TaskStore) -> bool:
        if place % 4 == 3:
            await store.prune(DUE + HOUR, 100)
        return await store.offer(an_offer(jobs[place], run_id=f"{place}"))

    wanted = await at_once(each_of, ask)

    left = await listed_jobs(each_of[0])
    assert sorted(left) == sorted(job.id for job, is_wanted in zip(jobs, wanted, strict=True) if is_wanted)
    assert await each_of[0].types() == ({"tidy": len(left)} if left else {})
    runs = await each_of[0].runs(RunQuery())
    assert sorted(run.id for run in runs) == sorted(f"{n}" for n, each in enumerate(wanted) if each)


async def test_jobs_are_all_counted(stores: TaskStores) -> None:
    each_of = await several(stores)

    async def ask(place: int, store: TaskStore) -> None:
        first = await store.add(a_job(bot_id="b", key=f"{place // 2}"))
        await store.add(a_job("sow", bot_id="b"))
        if place % 4 == 0:
            await store.remove(first.id)

    await at_once(each_of, ask)

    left = await each_of[0].jobs(limit=1000)
    counts = Counter(job.job_type for job in left)
    assert counts["sow"] == TASKS
    assert await each_of[0].types() == counts
    assert list(await each_of[0].jobs(bot_id="b", limit=1000)) == list(left)


async def test_a_command_that_is_sent_many_times_is_one(stores: TaskStores) -> None:
    each_of = await several(stores)
    session = await joined(each_of[0])

    rows = await at_once(
        each_of, lambda place, store: store.command(a_command(id="c", kind=f"{place}"), LONG)
    )

    assert len({(row.kind, row.created_at) for row in rows}) == 1
    assert list(await each_of[0].commands()) == rows[:1]
    assert (await each_of[0].beat(session, LONG, 0.0)).commands == (rows[0],)


async def test_answers_are_all_kept_and_each_once(stores: TaskStores) -> None:
    each_of = await several(stores)
    sessions = [await joined(each_of[0]) for _ in range(TASKS // 2)]
    await each_of[0].command(a_command(id="c"), LONG)

    await at_once(each_of, lambda place, store: store.answer(sessions[place // 2], "c", True, f"{place}"))

    [row] = await each_of[0].commands(id="c")
    assert sorted(each.session for each in row.answers) == sorted(sessions)
    assert all(sessions[int(each.text) // 2] == each.session for each in row.answers)
    for each in sessions:
        assert (await each_of[0].beat(each, LONG, 0.0)).commands == ()
