"""Which endpoint, key and model serve a purpose."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from bgtasks.errors import ConfigurationError
from bgtasks.llm import Endpoint
from bgtasks.llm.endpoints import check, endpoints
from bgtasks.settings import Settings


def given(**settings: Any) -> dict[Any, Endpoint]:
    return endpoints(Settings.load(**{f"llm_{name}": value for name, value in settings.items()}))


class TestSettings:
    def test_of_chat_serve_the_others_but_embeddings(self) -> None:
        found = given(url="http://h/v1", key="k", model="m")
        assert list(found) == ["chat", "extraction", "flash"]
        assert set(found.values()) == {Endpoint("http://h/v1", SecretStr("k"), "m")}

    def test_may_differ_for_each_purpose(self) -> None:
        found = given(
            url="http://h/v1",
            key="k",
            model="m",
            extraction_model="x",
            flash_url="http://f/v1",
            flash_key="f",
            embedding_model="e",
        )
        assert found["extraction"] == Endpoint("http://h/v1", SecretStr("k"), "x")
        assert found["flash"] == Endpoint("http://f/v1", SecretStr("f"), "m")
        assert found["embedding"] == Endpoint("http://h/v1", SecretStr("k"), "e")

    def test_a_key_is_not_sent_to_another_url(self) -> None:
        found = given(url="http://h/v1", key="k", model="m", extraction_url="http://other/v1")
        assert found["extraction"].key is None

    def test_one_purpose_is_enough(self) -> None:
        assert list(given(extraction_url="http://h/v1", extraction_model="m")) == ["extraction"]

    def test_without_a_model_or_a_url_there_is_nothing(self) -> None:
        with pytest.raises(ConfigurationError, match="BGTASKS_LLM_MODEL"):
            given(url="http://h/v1")
        with pytest.raises(ConfigurationError, match=r"BGTASKS_LLM_EMBEDDING_MODEL.*BGTASKS_LLM_URL"):
            given(embedding_model="e")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/v1",
        "ftp://h/v1",
        "http://",
        "http://[h",
        "http://h:x/v1",
        "http://u:secret@h/v1",
        "http://h/?k=secret",
    ],
)
def test_a_url_that_is_none_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="BGTASKS_LLM_FLASH_URL") as caught:
        check({"flash": Endpoint(url, None, "m")})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["secret\n", "se cret", "sécret"])
def test_a_key_that_no_header_can_carry_is_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match="BGTASKS_LLM_KEY: it holds") as caught:
        check({"chat": Endpoint("http://h/v1", SecretStr(key), "m")})
    assert "cret" not in str(caught.value)
