"""A job is found by the beginning of its id, as long as no other begins so."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from tests.support.task_stores import a_job

from bgtasks.cli.store import id_of, job_of
from bgtasks.errors import ConfigurationError, UnknownJob
from bgtasks.stores.tasks.memory import MemoryTaskStore

ONE = UUID("8d0656e5-a616-44c1-a2ad-b27082ebc0f2")
TWO = UUID("8d0656e6-0000-44c1-a2ad-b27082ebc0f2")


@pytest.fixture
async def store() -> MemoryTaskStore:
    store = MemoryTaskStore()
    for id in (ONE, TWO, UUID(int=0)):
        await store.add(a_job(id=id, key=str(id)))
    return store


@pytest.mark.parametrize("id", [str(ONE), ONE.hex, "8d0656e5", "8D0656E5-a6", "8d0656e5a61644c1"])
async def test_a_job_is_found_by_the_beginning_of_its_id(store: MemoryTaskStore, id: str) -> None:
    assert (await job_of(store, id)).id == ONE


async def test_the_first_id_of_all_is_found_too(store: MemoryTaskStore) -> None:
    assert (await job_of(store, "0")).id == UUID(int=0)


async def test_a_beginning_of_two_ids_is_refused(store: MemoryTaskStore) -> None:
    with pytest.raises(ConfigurationError, match="several jobs have an id that begins"):
        await job_of(store, "8d0656e")


@pytest.mark.parametrize("id", ["8d0656e7", "f", str(UUID(int=1))])
async def test_an_id_that_no_job_has_is_unknown(store: MemoryTaskStore, id: str) -> None:
    with pytest.raises(UnknownJob, match=id):
        await job_of(store, id)


@pytest.mark.parametrize("id", ["", "-", "tea", f"{ONE.hex}0"])
async def test_what_is_no_id_is_refused(store: MemoryTaskStore, id: str) -> None:
    with pytest.raises(ConfigurationError, match="is no id of a job"):
        await job_of(store, id)


async def test_an_id_in_full_may_be_of_a_job_that_was_removed(store: MemoryTaskStore) -> None:
    gone = uuid4()
    assert await id_of(store, str(gone)) == await id_of(store, gone.hex) == gone
    assert await id_of(store, "8d0656e5") == ONE
    with pytest.raises(UnknownJob):
        await id_of(store, "f")
