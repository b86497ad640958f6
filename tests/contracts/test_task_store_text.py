"""The contract of `TaskStore`, on every kind of store: whatever people write is kept as they wrote it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.support.task_stores import (
    LONG,
    ODD,
    TaskStores,
    a_command,
    a_job,
    a_run,
    a_session,
    an_offer,
    claimed,
    ended,
    joined,
    refused,
    run_of,
    started,
    tick,
)

from bgtasks.contracts import TaskStore
from bgtasks.records import Answer, Command, Refusal, RunQuery, RunStatus

CONTROL = "".join(chr(each) for each in range(1, 32))
TEXTS = {
    "odd": ODD,
    "control": CONTROL,
    "blank": "  \n ",
    "empty": "",
    "number": "007",
    "json": '{"a": ["\\u0000", null]}',
    "sql": "'; DROP TABLE scheduled_jobs; --",
    "pattern": "a*[b]?c%_",
    "braces": "{bgtasks}:tasks",
    "null": "null",
}
LONG_JSON = json.dumps({"notes": ['Zażółć gęślą jaźń 🌲 "quoted" \\ ' * 20] * 500}, ensure_ascii=False)

SOON = ("odd", "control", "empty")
"""Texts that are tried at once; the others take as long again."""

any_text = pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=name, marks=() if name in SOON else pytest.mark.full)
        for name, text in TEXTS.items()
    ],
)


class TestText:
    @any_text
    async def test_is_kept_in_each_attribute_of_a_job(self, stores: TaskStores, text: str) -> None:
        store, other = await stores.store(), await stores.store()
        job = a_job(text, bot_id=text, key=text, reason=text, trigger=text, config_json=text)

        assert await store.add(job) == job

        assert await other.job(job.id) == job
        assert await other.add(replace(job, id=uuid4())) == job
        assert list(await other.jobs(job_type=text)) == [job]
        changed = await other.change(replace(job, reason=f"{text}!", config_json=f"[{text}]"))
        assert changed == replace(job, reason=f"{text}!", config_json=f"[{text}]", version=2)
        assert await store.remove(job.id)

    @any_text
    async def test_is_kept_in_each_attribute_of_a_session(self, stores: TaskStores, text: str) -> None:
        store, other = await stores.store(), await stores.store()
        wired = (text, "tidy", f"{text} and more")
        row = a_session(id=f"s{text}", node_id=text, wired=wired, known=(text,), snapshot_json=text)

        at = await store.join(row, LONG)

        expires = at + timedelta(seconds=LONG)
        assert await other.sessions() == [replace(row, joined_at=at, expires_at=expires)]

    @any_text
    async def test_is_kept_in_each_attribute_of_a_run(self, stores: TaskStores, text: str) -> None:
        store, other = await stores.store(), await stores.store()
        run = a_run(
            id=f"r{text}",
            job_type=text,
            bot_id=text,
            session=text,
            node_id=text,
            result_json=text,
            error_message=text,
        )

        await store.skip(run)

        assert await other.run(run.id) == run
        assert list(await other.runs(RunQuery(job_type=text, before=(run.created_at, run.id + "!")))) == [run]

    @any_text
    async def test_is_kept_by_what_runs_write(self, store: TaskStore, text: str) -> None:
        session = a_session(text, id=f"s{text}", node_id=text)
        await store.join(session, LONG)
        job, offer_id = await store.add(a_job(text, bot_id=text)), f"o{text}"
        wanted = tick(job, run_id=f"r{text}", missed=f"m{text}")

        run = claimed((await store.claim(session.id, [wanted]))[0])

        assert run.run_id == wanted.run_id
        assert (await run_of(store, run.run_id)).node_id == text
        assert (await run_of(store, f"r{text}:missed")).error_message == f"m{text}"
        ending = ended(run, RunStatus.FAILED, result_json=text, error_message=text, again=True)
        assert await store.finish([ending]) == [True]
        over = await run_of(store, run.run_id)
        assert (over.result_json, over.error_message) == (text, text)

        await store.offer(an_offer(job, run_id=offer_id))
        told = await store.beat(session.id, LONG, 0.0)
        assert {each.run_id for each in told.offers} == {f"{run.run_id.partition('~')[0]}~2", offer_id}
        accepted = claimed((await store.accept(session.id, [(offer_id, False)]))[0])
        await store.remove(job.id)
        assert (await store.beat(session.id, LONG, 0.0)).unwanted == (accepted.run_id,)

        await store.leave(session.id)
        assert (await run_of(store, offer_id)).status is RunStatus.LOST

    @any_text
    async def test_is_kept_in_each_attribute_of_a_command(self, stores: TaskStores, text: str) -> None:
        store, other = await stores.store(), await stores.store()
        session, bystander = a_session(id=f"s{text}", node_id=text), a_session(node_id=f"{text}!")
        await store.join(session, LONG)
        await store.join(bystander, LONG)
        command = Command(
            id=f"c{text}", kind=text, node_id=text, subject=text, arguments_json=text, asked_by=text
        )

        row = await store.command(command, LONG)

        assert {each: getattr(row, each) for each in asdict(command)} == asdict(command)
        assert await other.command(command, LONG) == row
        assert (await other.beat(session.id, LONG, 0.0)).commands == (row,)
        assert (await other.beat(bystander.id, LONG, 0.0)).commands == ()
        await other.answer(session.id, command.id, False, text)
        [now] = await store.commands(id=command.id)
        [answer] = now.answers
        assert answer == Answer(session.id, text, answer.at, False, text)
        assert (await other.beat(session.id, LONG, 0.0)).commands == ()

    @any_text
    async def test_is_kept_where_a_run_is_withdrawn_and_jobs_are_listed(
        self, stores: TaskStores, text: str
    ) -> None:
        store, other = await stores.store(), await stores.store()
        job = await store.add(a_job(text, bot_id=text))
        await store.add(a_job(f"{text}!", bot_id=f"{text}!"))
        await store.offer(an_offer(job, run_id=f"o{text}"))

        assert await other.withdraw(f"o{text}", text)

        assert (await run_of(store, f"o{text}")).error_message == text
        assert list(await other.jobs(bot_id=text)) == [job]
        assert list(await other.jobs(bot_id=text, job_type=text)) == [job]
        assert await other.types() == {text: 1, f"{text}!": 1}

    async def test_does_not_run_together_in_an_answer(self, store: TaskStore) -> None:
        parts = ["a", "a:b", "b", "a\x1fb", "a|b", "a,b", "a b", ":", ""]
        sessions = [a_session(id=f"s{each}") for each in parts]
        for session in sessions:
            await store.join(session, LONG)
        commands = [await store.command(a_command(id=f"c{each}"), LONG) for each in parts]

        for each in commands[1:]:
            for session in sessions[1:]:
                await store.answer(session.id, each.id, True, f"{session.id} to {each.id}")

        assert [each.id for each in (await store.beat("sa", LONG, 0.0)).commands] == [
            each.id for each in commands
        ]
        for each in commands[1:]:
            [now] = await store.commands(id=each.id)
            assert [(said.session, said.text) for said in now.answers] == [
                (session.id, f"{session.id} to {each.id}") for session in sessions[1:]
            ]

    async def test_does_not_run_together_in_a_key(self, store: TaskStore) -> None:
        jobs = [
            job
            for between in (":", "|", "\x1f", "\n", "\t", ",", "/", "\\", '"', "\x01", "~", "}")
            for job in (
                a_job(f"a{between}b", bot_id="c", key="d"),
                a_job("a", bot_id=f"b{between}c", key="d"),
                a_job("a", bot_id="b", key=f"c{between}d"),
                a_job(f"a{between}b{between}c", bot_id="", key="d"),
            )
        ]

        assert [await store.add(job) for job in jobs] == jobs

        assert [await store.add(replace(job, id=uuid4())) for job in jobs] == jobs

    async def test_may_be_long(self, stores: TaskStores) -> None:
        store, other = await stores.store(), await stores.store()
        assert len(LONG_JSON) > 300_000
        session = a_session("tidy", snapshot_json=LONG_JSON)
        await store.join(session, LONG)
        job = await store.add(a_job(config_json=LONG_JSON, reason=LONG_JSON))
        run = await started(store, session.id, job)
        command = await store.command(a_command(arguments_json=LONG_JSON), LONG)
        await store.answer(session.id, command.id, True, LONG_JSON)

        await store.finish([ended(run, result_json=LONG_JSON, error_message=LONG_JSON)])

        assert (await other.jobs())[0].config_json == LONG_JSON
        over = await run_of(other, run.run_id)
        assert (over.result_json, over.error_message) == (LONG_JSON, LONG_JSON)
        assert (await other.sessions())[0].snapshot_json == LONG_JSON
        [said] = await other.commands()
        assert (said.arguments_json, said.answers[0].text) == (LONG_JSON, LONG_JSON)

    async def test_is_compared_exactly(self, store: TaskStore) -> None:
        alike = ["é", "e\u0301", "E", "e", "e ", " e", "ｅ"]
        jobs = [await store.add(a_job(each, key="k")) for each in alike]

        for each, job in zip(alike, jobs, strict=True):
            session = await joined(store, each)
            assert (await store.beat(session, LONG, 0.0)).due == (job,)
            assert list(await store.jobs(job_type=each)) == [job]
        assert list(await store.types()) == sorted(alike)

    async def test_of_an_id_that_is_like_one_of_ours_is_an_id(self, store: TaskStore) -> None:
        session, job = await joined(store, "tidy"), await store.add(a_job())
        for each in ("r:missed", "r~2", "r~x", "~", str(job.id)):
            await store.offer(an_offer(job, run_id=each))

        answers = await store.accept(session, [("r~2", False), ("r", False), ("r~", True), ("~", True)])

        assert claimed(answers[0]).run_id == "r~2"
        refused(answers[1], Refusal.GONE)
        refused(answers[2], Refusal.GONE)
        assert claimed(answers[3]).run_id == "~"
