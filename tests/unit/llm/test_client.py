"""The client before a stand-in for a model: answers, costs, and what goes wrong."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.support.waiting import until
from tests.unit.llm.stage import HELLO, Pet, Stage, stage, user

from bgtasks.errors import (
    BadAnswer,
    ConfigurationError,
    MissingExtra,
    OverBudget,
    ResourceUnavailable,
    UnsuitableServer,
)
from bgtasks.llm import Endpoint, OpenAIChat, Usage, transport
from bgtasks.llm.answers import Answers
from bgtasks.llm.budget import Limits
from bgtasks.run import Run, Work, current_run
from bgtasks.settings import Settings
from bgtasks.testing.model import Fault, ModelServer, Reply

SEARCH = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]


def saying(*replies: Any, **options: Any) -> ModelServer:
    """A stand-in that says these one after the other, the last one over and over."""
    left = list(replies)
    return ModelServer(answer=lambda _: left.pop(0) if len(left) > 1 else left[0], **options)


def settling(s: Stage, monkeypatch: pytest.MonkeyPatch, go_on: asyncio.Event | None = None) -> list[str]:
    """What is said of each call that is settled: when that begins, and ends; it waits for `go_on` between."""
    settle, said = s.budget.settle, list[str]()

    async def noted(*args: Any, **options: Any) -> None:
        said.append("settling")
        if go_on is not None:
            await go_on.wait()
        await settle(*args, **options)
        said.append("settled")

    monkeypatch.setattr(s.budget, "settle", noted)
    return said


class TestAnAnswer:
    async def test_comes_as_text(self) -> None:
        async with stage(saying("Good day.")) as s:
            assert await s.chat.chat(HELLO) == "Good day."
            body = s.model.requests[0]
            assert body["max_tokens"] == 1024
            assert body["temperature"] == 0.0
            assert "stream" not in body

    async def test_takes_another_model_and_options_of_the_endpoint(self) -> None:
        async with stage(saying("Good day.")) as s:
            await s.chat.chat(HELLO, override_model="other/model", seed=7, provider={"order": ["x"]})
            body = s.model.requests[0]
            assert body["model"] == "other/model"
            assert (body["seed"], body["provider"]) == (7, {"order": ["x"]})

    async def test_is_asked_for_whatever_the_characters(self) -> None:
        async with stage(saying("Fine.")) as s:
            await s.chat.chat(user("a lone \ud800 surrogate, \0, ☂"), prompt_version="1")
            assert s.model.requests[0]["messages"][0]["content"] == "a lone ? surrogate, \0, ☂"

    @pytest.mark.parametrize("text", ["", " \n"])
    async def test_that_is_empty_is_asked_for_once_more(self, text: str) -> None:
        async with stage(saying(text, "Now then.")) as s:
            assert await s.chat.chat(HELLO) == "Now then."
            assert s.statuses == [200, 200]

    async def test_without_choices_is_none(self) -> None:
        async with stage(saying({"choices": []})) as s:
            with pytest.raises(BadAnswer, match="empty"):
                await s.chat.chat(HELLO)
            assert len(s.model.calls) == 2

    async def test_that_was_cut_off_is_none(self) -> None:
        async with stage(saying("a " * 100)) as s:
            with pytest.raises(BadAnswer, match="max_tokens=9"):
                await s.chat.chat(HELLO, max_tokens=9)
            assert len(s.model.calls) == 1

    @pytest.mark.parametrize("reply", [Reply(refusal="I will not."), Reply("So", finish="content_filter")])
    async def test_may_be_refused(self, reply: Reply) -> None:
        async with stage(saying(reply)) as s:
            with pytest.raises(BadAnswer, match="refused"):
                await s.chat.chat(HELLO)
            with pytest.raises(BadAnswer, match="refused"):
                await s.chat.structured(HELLO, Pet)
            assert len(s.model.calls) == 2

    @pytest.mark.parametrize("option", ["stream", "n", "response_format"])
    async def test_is_not_changed_by_options_that_are_not_the_callers(self, option: str) -> None:
        async with stage() as s:
            with pytest.raises(ConfigurationError, match=option):
                await s.chat.chat(HELLO, **cast("Any", {option: 1}))
            with pytest.raises(ConfigurationError, match="max_tokens"):
                await s.chat.chat(HELLO, max_tokens=0)
            assert not s.model.calls


class TestTools:
    async def test_are_called_as_the_model_wrote_it(self) -> None:
        reply = Reply("Let me see.", calls=[("search", '{"query": "Ka'), ("search", {"query": "Walter"})])
        async with stage(saying(reply)) as s:
            turn = await s.chat.turn(HELLO, tools=SEARCH)
            assert turn.text == "Let me see."
            assert [call.arguments for call in turn.calls] == ['{"query": "Ka', '{"query": "Walter"}']
            assert [call["id"] for call in turn.message["tool_calls"]] == ["call_1_1", "call_1_2"]
            assert turn.usage.tokens == s.model.calls[0].prompt_tokens + s.model.calls[0].completion_tokens
            assert s.model.requests[0]["tools"] == SEARCH

    async def test_need_not_be_called(self) -> None:
        async with stage(saying("")) as s:
            turn = await s.chat.turn(HELLO, tools=SEARCH)
            assert (turn.text, turn.calls) == ("", ())
            assert turn.message == {"role": "assistant", "content": "(nothing)"}

    async def test_come_back_as_any_endpoint_takes_them(self) -> None:
        calls = [("search", text) for text in ("", '{"query": "Ka', "[1]", '{"a": NaN}', '{"query": "Bo"}')]
        async with stage(saying(Reply(calls=calls))) as s:
            message = (await s.chat.turn(HELLO, tools=SEARCH)).message
            assert message["content"] is None
            sent = [call["function"]["arguments"] for call in message["tool_calls"]]
            assert sent == ["{}"] * 4 + ['{"query": "Bo"}']

    async def test_calls_that_were_cut_off_are_no_turn(self) -> None:
        reply = Reply(calls=[("search", {"query": "x" * 400})])
        async with stage(saying(reply)) as s:
            with pytest.raises(BadAnswer, match="cut off"):
                await s.chat.turn(HELLO, tools=SEARCH, max_tokens=20)

    async def test_may_be_answered_in_the_forms_of_other_endpoints(self) -> None:
        function = {"name": "search", "arguments": {"query": "Walter"}}
        message = {"content": [{"type": "text", "text": "So."}], "tool_calls": [{"function": function}, 7]}
        async with stage(saying({"choices": [{"message": message}]})) as s:
            turn = await s.chat.turn(HELLO, tools=SEARCH)
            (call,) = turn.calls
            assert (turn.text, call.id, call.arguments) == ("So.", "call-1", '{"query": "Walter"}')


class TestWhatWentWrong:
    async def test_a_wrong_key_names_the_setting(self) -> None:
        async with stage(ModelServer(key="sk-right"), key="sk-wrong") as s:
            with pytest.raises(UnsuitableServer, match="BGTASKS_LLM_EXTRACTION_KEY") as caught:
                await s.chat.structured(HELLO, Pet)
            assert s.statuses == [401]
            assert "sk-" not in str(caught.value)
            assert (await s.spent()).tokens == 0

    async def test_an_unknown_model_names_itself_and_the_setting(self) -> None:
        async with stage(ModelServer(models=["this/one"])) as s:
            with pytest.raises(UnsuitableServer, match=r'"some/model".*BGTASKS_LLM_MODEL'):
                await s.chat.chat(HELLO)
            assert s.statuses == [404]

    async def test_too_long_an_input_is_a_bad_answer(self) -> None:
        async with stage(ModelServer(context_tokens=100)) as s:
            with pytest.raises(BadAnswer, match="too long"):
                await s.chat.chat(user("word " * 500))
            assert s.statuses == [400]

    @pytest.mark.parametrize("kind", ["500", "503", "cut", "garbage"])
    async def test_an_outage_is_tried_again(self, kind: Any) -> None:
        async with stage(saying(Fault(kind), Fault(kind), "Here I am.")) as s:
            assert await s.chat.chat(HELLO) == "Here I am."
            assert len(s.model.calls) == 3
            assert 0.5 <= s.slept[0] <= 1.0 <= s.slept[1] <= 2.0

    async def test_an_outage_that_lasts_is_one_of_the_resource(self) -> None:
        async with stage(saying(Fault("503"))) as s:
            with pytest.raises(ResourceUnavailable, match=r"127\.0\.0\.1.*503.*4 times") as caught:
                await s.chat.chat(HELLO)
            assert caught.value.resource == "openrouter"
            assert s.statuses == [503] * 4

    async def test_a_retry_after_is_honoured_up_to_a_minute(self) -> None:
        async with stage(saying(Fault("429", 7.0), Fault("429", 3600.0), Fault("429"), "At last.")) as s:
            assert await s.chat.chat(HELLO) == "At last."
            assert s.slept[:2] == [7.0, 60.0]
            assert 2.0 <= s.slept[2] <= 4.0

    async def test_too_many_calls_for_too_long(self) -> None:
        async with stage(saying(Fault("429"))) as s:
            with pytest.raises(ResourceUnavailable, match="429"):
                await s.chat.chat(HELLO)
            assert (len(s.model.calls), (await s.spent()).tokens) == (4, 0)
            (limiter,) = s.chat._calls()._limiters.values()
            assert (limiter.limit, limiter.busy) == (1, 0)  # halved from 8 four times, and not below 1

    async def test_an_account_without_credit_is_not_asked_again(self) -> None:
        async with stage(saying(Reply("You exceeded it", status=429, code="insufficient_quota"))) as s:
            with pytest.raises(ResourceUnavailable, match="credit"):
                await s.chat.chat(HELLO)
            assert s.statuses == [429]

    async def test_no_connection_costs_nothing(self) -> None:
        async with stage() as s:
            await s.model.close()
            with pytest.raises(ResourceUnavailable, match="no connection"):
                await s.chat.chat(HELLO)
            spent = await s.spent()
            assert (spent.tokens, spent.reserved_tokens) == (0, 0)

    async def test_a_connection_cut_in_the_middle_may_have_cost_something(self) -> None:
        async with stage(saying(Fault("cut"), "So.")) as s:
            await s.chat.chat(HELLO, max_tokens=500)
            assert 500 < (await s.spent()).tokens < 600

    async def test_what_takes_too_long_is_given_up_and_counted(self) -> None:
        async with stage(saying(Fault("slow", seconds=60.0)), timeout=0.05) as s:
            with pytest.raises(ResourceUnavailable, match=r"0\.05 s \(BGTASKS_LLM_TIMEOUT\), 2 times"):
                await s.chat.chat(HELLO, max_tokens=500)
            spent = await s.spent()
            assert (spent.calls, spent.reserved_tokens) == (2, 0)
            assert spent.tokens > 2 * 500

    async def test_an_error_within_a_success_is_an_error(self) -> None:
        error = {"error": {"code": 502, "message": "Provider returned error"}, "choices": []}
        async with stage(saying(error, "So.")) as s:
            assert await s.chat.chat(HELLO) == "So."
            assert len(s.slept) == 1

    async def test_what_an_endpoint_refuses_of_its_kind_is_due_to_the_input_once_it_answered(self) -> None:
        odd = Reply("Something is wrong with it.", status=400)
        async with stage(saying(odd, "So.", odd)) as s:
            with pytest.raises(UnsuitableServer, match="BGTASKS_LLM_MODEL"):
                await s.chat.chat(HELLO)
            await s.chat.chat(HELLO)
            with pytest.raises(BadAnswer, match="not with this input"):
                await s.chat.chat(HELLO)

    async def test_an_input_that_moderation_refuses_is_a_bad_answer(self) -> None:
        flagged = Reply("Your chosen model requires moderation and your input was flagged", status=403)
        async with stage(saying(flagged)) as s:
            with pytest.raises(BadAnswer, match="filter"):
                await s.chat.chat(HELLO)

    async def test_the_breaker_keeps_calls_away_until_one_may_try(self) -> None:
        async with stage(saying(*[Fault("500")] * 5, "Back.")) as s:
            for _ in range(3):
                with pytest.raises(ResourceUnavailable):
                    await s.chat.chat(HELLO)
            assert len(s.model.calls) == 5
            s.clock.stall(30)
            assert await s.chat.chat(HELLO) == "Back."


class TestWhatAnEndpointDoesNotTake:
    async def test_is_said_otherwise_and_remembered(self) -> None:
        def picky(body: dict[str, Any]) -> Any:
            if "max_tokens" in body:
                return Reply(
                    "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", status=400
                )
            if "temperature" in body:
                return Reply("'temperature' does not support 0.0 with this model.", status=400)
            return "Fine."

        async with stage(ModelServer(answer=picky)) as s:
            assert await s.chat.chat(HELLO) == "Fine."
            assert await s.chat.chat(HELLO) == "Fine."
            assert s.statuses == [400, 400, 200, 200]
            assert s.model.requests[-1]["max_completion_tokens"] == 1024
            assert not s.slept


class TestCosts:
    async def test_are_what_the_endpoint_says(self) -> None:
        said = {"prompt_tokens": 11, "completion_tokens": 5, "cost": 0.25}
        async with stage(saying(Reply("So.", usage=said))) as s:
            await s.chat.chat(HELLO, task="tidy")
            rows = {row.task: row for row in await s.budget.spent()}
            assert (rows["tidy"].tokens, rows["tidy"].cost, rows["tidy"].calls) == (16, 0.25, 1)

    async def test_are_priced_where_the_endpoint_names_no_money(self) -> None:
        limits = Limits(prices={"some/model": (1.0, 10.0)})
        said = {"prompt_tokens": 1000, "completion_tokens": 100}
        async with stage(saying(Reply("So.", usage=said)), limits=limits) as s:
            await s.chat.chat(HELLO)
            assert (await s.spent()).cost == pytest.approx(0.002)

    async def test_of_what_was_never_sent_are_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(*_: object) -> None:
            raise MissingExtra("the LLM client", "memory")

        async with stage() as s:
            with monkeypatch.context() as patch:
                patch.setattr(transport, "_made", missing)
                with pytest.raises(MissingExtra):
                    await s.chat.chat(HELLO)
            for odd in (object(), float("nan")):
                with pytest.raises(ConfigurationError, match=r"the options: .* JSON"):
                    await s.chat.chat(HELLO, top_p=odd)
            spent = await s.spent()
            assert (spent.tokens, spent.calls, spent.reserved_tokens) == (0, 0, 0)
            assert not s.model.calls

    @pytest.mark.parametrize("usage", [False, {}, {"prompt_tokens": 0, "completion_tokens": None}])
    async def test_are_estimated_where_the_endpoint_says_nothing(self, usage: Any) -> None:
        async with stage(saying(Reply("word " * 60, usage=usage))) as s:
            await s.chat.chat(HELLO)
            assert 100 < (await s.spent()).tokens < 200

    async def test_go_on_the_budget_of_the_run(self) -> None:
        async def work() -> None: ...

        async with stage(saying("So.")) as s:
            await s.chat.chat(HELLO)
            token = current_run.set(Run(Work("sweep", work), "1", s.clock.now()))
            await s.chat.chat(HELLO)
            current_run.reset(token)
            assert {row.task for row in await s.budget.spent()} >= {"other", "sweep"}

    async def test_above_the_budget_nothing_is_asked(self) -> None:
        async with stage(saying("So."), limits=Limits(day_tokens=1000)) as s:
            with pytest.raises(OverBudget):
                await s.chat.chat(HELLO, max_tokens=2000)
            assert not s.model.calls
            assert await s.chat.chat(HELLO, max_tokens=100) == "So."

    async def test_of_a_call_that_is_cancelled_count_by_what_was_reserved(self) -> None:
        async with stage(saying(Fault("slow", seconds=60.0))) as s:
            call = asyncio.create_task(s.chat.chat(HELLO, max_tokens=500))
            await until("the model is at work", lambda: s.model.calls)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            spent = await s.spent()
            assert (spent.calls, spent.reserved_tokens) == (1, 0)
            assert 500 < spent.tokens < 600
            assert len(s.model.calls) == 1

    async def test_are_right_at_whatever_moment_it_is_cancelled(self) -> None:
        async with stage(saying("So."), concurrency=1) as s:
            moment, ended = 0, False
            while not ended:
                call = asyncio.create_task(s.chat.chat(HELLO, max_tokens=500))
                for _ in range(moment):
                    await asyncio.sleep(0)
                ended = not call.cancel()
                await asyncio.gather(call, return_exceptions=True)
                moment += 1
                async with asyncio.timeout(5):
                    assert await s.chat.chat(HELLO) == "So."
            assert moment > 5
            await s.chat.aclose()
            spent = await s.spent()
            assert spent.reserved_tokens == 0
            assert moment + 1 < spent.calls <= 2 * moment  # some were cancelled when the model was at work

    async def test_that_cannot_be_written_down_do_not_lose_the_answer(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def away(*_: object, **__: object) -> None:
            raise ResourceUnavailable("redis", "gone")

        async with stage(saying("So.")) as s:
            monkeypatch.setattr(s.budget, "settle", away)
            assert await s.chat.chat(HELLO) == "So."
        assert "was not written down" in caplog.text


class TestKeptAnswers:
    async def test_are_given_again_without_a_call_or_a_reservation(self) -> None:
        async with stage(saying("So.", "Otherwise.")) as s:
            for _ in range(2):
                assert await s.chat.chat(HELLO, prompt_version="1") == "So."
            assert (len(s.model.calls), (await s.spent()).calls) == (1, 1)
            assert await s.chat.chat(HELLO, prompt_version="2") == "Otherwise."

    async def test_are_none_without_a_version(self) -> None:
        async with stage(saying("So.", "Otherwise.")) as s:
            assert [await s.chat.chat(HELLO) for _ in range(2)] == ["So.", "Otherwise."]

    async def test_need_no_budget(self) -> None:
        async with stage(saying("So.", "Otherwise.")) as s:
            chat = OpenAIChat(s.chat._endpoints, answers=Answers(s.budget._redis, "test"))
            for _ in range(2):
                assert await chat.chat(HELLO, prompt_version="1") == "So."
            await chat.aclose()

    async def test_are_those_of_one_endpoint(self) -> None:
        async with stage(saying("So.")) as s, saying("Otherwise.") as other:
            answers = Answers(s.budget._redis, "test")
            assert await s.chat.chat(HELLO, prompt_version="1") == "So."
            chat = OpenAIChat({"chat": Endpoint(other.url, None, "some/model")}, answers=answers)
            assert await chat.chat(HELLO, prompt_version="1") == "Otherwise."
            await chat.aclose()

    async def test_may_be_turns(self) -> None:
        reply = Reply("Let me see.", calls=[("search", {"query": "Walter"})])
        async with stage(saying(reply)) as s:
            first, second = [await s.chat.turn(HELLO, tools=SEARCH, prompt_version="1") for _ in range(2)]
            assert (first.cached, second.cached) == (False, True)
            assert (first.text, first.calls) == (second.text, second.calls)
            assert second.usage == Usage()
            assert len(s.model.calls) == 1

    async def test_are_those_that_fit(self) -> None:
        async with stage(saying("no pet", "none", '{"name": "Bo", "legs": 4}')) as s:
            with pytest.raises(BadAnswer):
                await s.chat.structured(HELLO, Pet, prompt_version="1")
            for _ in range(2):
                pet = await s.chat.structured(HELLO, Pet, prompt_version="1")
                assert pet == Pet(name="Bo", legs=4)
            assert len(s.model.calls) == 3

    async def test_of_a_caller_that_is_cancelled_while_it_is_written_down_are_kept(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with stage(saying("So.")) as s:
            settle, reached, go_on = s.budget.settle, asyncio.Event(), asyncio.Event()

            async def slowly(*args: Any, **options: Any) -> None:
                reached.set()
                await go_on.wait()
                await settle(*args, **options)

            monkeypatch.setattr(s.budget, "settle", slowly)
            call = asyncio.create_task(s.chat.chat(HELLO, prompt_version="1"))
            await reached.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            go_on.set()
            await s.chat.aclose()
            assert await s.chat.chat(HELLO, prompt_version="1") == "So."
            assert len(s.model.calls) == 1


class TestItsConnections:
    async def test_are_closed_as_often_as_one_likes_and_opened_anew(self) -> None:
        async with stage(saying("So.")) as s:
            await s.chat.aclose()
            await s.chat.chat(HELLO)
            await s.chat.aclose()
            await s.chat.aclose()
            assert await s.chat.chat(HELLO) == "So."

    async def test_when_closed_end_the_calls_under_way(self) -> None:
        async with stage(saying(Fault("slow", seconds=60.0))) as s:
            call = asyncio.create_task(s.chat.chat(HELLO))
            await until("the model is at work", lambda: s.model.calls)
            await s.chat.aclose()
            with pytest.raises(ResourceUnavailable, match="closed"):
                await call
            assert not s.slept

    async def test_when_closed_have_what_they_spent_written_down(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with stage(saying(Fault("slow", seconds=60.0))) as s:
            written = settling(s, monkeypatch)
            call = asyncio.create_task(s.chat.chat(HELLO))
            await until("the model is at work", lambda: s.model.calls)
            await s.chat.aclose()
            assert written == ["settling", "settled"]
            await asyncio.gather(call, return_exceptions=True)

    async def test_when_closed_spend_nothing_more(self) -> None:
        async with stage(saying(Fault("slow", seconds=60.0)), concurrency=2) as s:
            calls = [asyncio.create_task(s.chat.chat(HELLO)) for _ in range(4)]
            await until("the model is at work on two", lambda: len(s.model.calls) == 2)
            calls[0].cancel()
            await s.chat.aclose()
            cancelled, *closed = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(cancelled, asyncio.CancelledError)
            assert ["closed" in str(error) for error in closed] == [True] * 3
            spent = await s.spent()
            assert (spent.calls, spent.reserved_tokens) == (2, 0)

    async def test_settle_though_closing_them_is_cancelled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with stage(saying(Fault("slow", seconds=60.0))) as s:
            go_on = asyncio.Event()
            written = settling(s, monkeypatch, go_on)
            call = asyncio.create_task(s.chat.chat(HELLO))
            await until("the model is at work", lambda: s.model.calls)
            closing = asyncio.create_task(s.chat.aclose())
            await until("it is being settled", lambda: written)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            assert closing.cancelled()
            go_on.set()
            with pytest.raises(ResourceUnavailable, match="closed"):
                await call
            assert written == ["settling", "settled"]

    async def test_when_closed_end_calls_that_are_being_connected(self) -> None:
        connected = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
            port = silent.sockets[0].getsockname()[1]
            async with stage(url=f"https://127.0.0.1:{port}/v1") as s:
                call = asyncio.create_task(s.chat.chat(HELLO))
                await connected.wait()
                async with asyncio.timeout(5):
                    await s.chat.aclose()
                with pytest.raises(ResourceUnavailable, match="closed"):
                    await call

    async def test_belong_to_an_event_loop_each(self) -> None:
        async with stage(saying("So.")) as s:
            chat = OpenAIChat(s.chat._endpoints)

            async def elsewhere() -> str:
                try:
                    return await chat.chat(HELLO)
                finally:
                    await chat.aclose()

            for _ in range(2):
                assert await asyncio.to_thread(asyncio.run, elsewhere()) == "So."
            assert await elsewhere() == "So."

    async def test_are_counted_by_one_thread_at_a_time(self) -> None:
        async with stage() as s:
            await s.chat.aclose()

            async def elsewhere() -> None:
                s.chat._calls()

            with s.chat._guard:
                away = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
                done, _ = await asyncio.wait([away], timeout=0.05)
                assert not done
                assert not s.chat._loops
            await away

    async def test_are_no_more_at_once_than_they_may(self) -> None:
        async def answer(_: object) -> str:
            await asyncio.sleep(0.01)
            return "So."

        async with stage(ModelServer(answer=answer), concurrency=2) as s:
            await asyncio.gather(*(s.chat.chat(HELLO) for _ in range(6)))
            assert s.model.tally.at_once == 2


class TestFromSettings:
    def test_a_cap_needs_a_redis(self) -> None:
        settings = Settings.load(llm_url="http://h/v1", llm_model="m", llm_day_tokens=5)
        with pytest.raises(ConfigurationError, match=r"BGTASKS_LLM_DAY_TOKENS.*BGTASKS_REDIS_URL"):
            OpenAIChat.from_settings(settings)

    async def test_it_chats_within_its_budget(self) -> None:
        async with stage(saying("So.", key="sk-own")) as s:
            settings = Settings.load(
                llm_url=s.model.url, llm_model="m", llm_key="sk-own", llm_day_tokens=2000, namespace="test"
            )
            chat = OpenAIChat.from_settings(settings, s.budget._redis, clock=s.clock)
            assert await chat.chat(HELLO) == "So."
            with pytest.raises(OverBudget):
                await chat.chat(HELLO, max_tokens=1990)
            with pytest.raises(ConfigurationError, match="BGTASKS_LLM_EMBEDDING_MODEL"):
                await chat.embed(["x"])
            assert repr(chat) == "<OpenAIChat chat: m, extraction: m, flash: m>"
            await chat.aclose()
