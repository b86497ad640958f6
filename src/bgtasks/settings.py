"""The settings of an operator: the only reader of `BGTASKS_*`, from the environment and from `.env`.

A name under the prefix that is no setting is an error, with the nearest one: a misspelt switch that is
silently ignored is found out at three in the morning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from bgtasks.errors import InvalidSetting, nearest

__all__ = ["PREFIX", "Settings", "default_namespace", "namespace_of"]

PREFIX = "BGTASKS_"


class Settings(BaseSettings):
    """What an operator can set. Each field is read from `BGTASKS_<NAME>`, whatever its case.

    Use `Settings.load()`: it turns every mistake into one `InvalidSetting` that names the cure.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)
    strict_names: ClassVar[bool] = True

    redis_url: SecretStr | None = Field(
        None,
        description="Redis: redis://…, rediss://…, unix://…, or embedded for one that is started here",
    )
    falkordb_url: SecretStr | None = Field(
        None, description="FalkorDB, if it is not the same server as Redis"
    )
    store_url: SecretStr | None = Field(
        None,
        description="where ticks of cluster tasks are claimed: redis://…, sqlite:///path, postgresql://…",
    )
    graph_name: str = Field("bgtasks", min_length=1, description="the graph's key in FalkorDB")
    namespace: str = Field("bgtasks", min_length=1, description="what every key in Redis begins with")
    data_dir: Path | None = Field(None, description="where the embedded server keeps its data")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    stop_timeout: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="seconds a stop waits for running tasks"
    )
    history_days: float = Field(
        30.0, gt=0, le=36_500, allow_inf_nan=False, description="days for which a run is remembered"
    )
    history_runs: int = Field(
        1000, ge=1, le=1_000_000_000, description="runs of each job that are remembered at most"
    )

    background_scheduler_chat_llm_enabled: bool = Field(
        True, description="whether tasks that call the chat LLM run"
    )
    background_scheduler_log_rag_ingest_enabled: bool = Field(False, description="log ingestion")
    starwiki_enabled: bool = Field(False, description="wiki upkeep")
    starwiki_lint_interval_minutes: float = Field(
        360.0, gt=0, allow_inf_nan=False, description="minutes between two lints of the wiki"
    )
    ka_enabled: bool = Field(False, description="knowledge anchoring and the daily epoch")
    ka_dedup_enabled: bool = Field(False, description="deduplication of the knowledge graph")
    ka_org_enabled: bool = Field(False, description="organising of the knowledge graph")
    kg_extraction_model: str | None = Field(
        None, description="the model that extracts knowledge; default: that of LLM_EXTRACTION_MODEL"
    )
    kg_bulk_dir: Path = Field(
        Path("var/kg_bulk_scheduled"), description="where the bulk extraction dumps what it worked on"
    )
    kg_bulk_keep: int = Field(20, ge=1, description="dumps of the bulk extraction that are kept")
    channel_messages: int = Field(
        100_000, ge=100, description="messages of a channel that are kept at most, read or not"
    )

    llm_url: str | None = Field(
        None, description="an OpenAI-compatible endpoint, such as https://openrouter.ai/api/v1"
    )
    llm_key: SecretStr | None = Field(None, description="its API key")
    llm_model: str | None = Field(None, description="the model that chats; without one there is no LLM")
    llm_extraction_url: str | None = Field(None, description="endpoint for extraction, if another")
    llm_extraction_key: SecretStr | None = Field(None, description="its API key")
    llm_extraction_model: str | None = Field(None, description="the model for extraction, if another")
    llm_flash_url: str | None = Field(None, description="endpoint for small jobs, if another")
    llm_flash_key: SecretStr | None = Field(None, description="its API key")
    llm_flash_model: str | None = Field(None, description="a small, quick model, if another")
    llm_embedding_url: str | None = Field(None, description="endpoint for embeddings, if another")
    llm_embedding_key: SecretStr | None = Field(None, description="its API key")
    llm_embedding_model: str | None = Field(
        None, description="the model for embeddings; without one there are none"
    )
    llm_timeout: float = Field(
        120.0, gt=0, allow_inf_nan=False, description="seconds for one answer of a model"
    )
    llm_max_tokens: int | None = Field(
        None, ge=1, description="tokens of an answer, at most, in place of what each task asks for"
    )
    llm_concurrency: int = Field(8, ge=1, le=1000, description="calls to one model at a time, at most")
    llm_answer_days: float = Field(
        7.0, gt=0, le=365, allow_inf_nan=False, description="days for which answers of models are kept"
    )
    llm_day_tokens: int | None = Field(None, ge=1, description="tokens a day, all tasks together")
    llm_day_cost: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="US dollars a day, all tasks together"
    )
    llm_task_tokens: dict[str, int] = Field(
        default_factory=dict, description='tokens a day by task: {"auto_kg_extraction": 200000}'
    )
    llm_task_cost: dict[str, float] = Field(
        default_factory=dict, description='US dollars a day by task: {"auto_kg_extraction": 0.5}'
    )
    llm_prices: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description='US dollars for a million tokens in and out: {"openai/gpt-5-mini": [0.25, 2.0]}',
    )
    llm_zone: str = Field("UTC", description="IANA time zone whose midnight begins a new day of spending")

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """The settings of this process: `overrides`, then the environment, then `.env`, then defaults.

        Raises:
            InvalidSetting: A variable under the prefix is no setting, or a value cannot be read.
        """
        with _explained():
            _refuse_unknown(cls)
            return cls(**overrides)


def default_namespace() -> str:
    """The namespace of our keys where none is given: `BGTASKS_NAMESPACE`, or `bgtasks`.

    Raises:
        InvalidSetting: A setting of this process is misspelt or cannot be read, this one or another.
    """
    return Settings.load().namespace


def namespace_of(config: Any) -> str:
    """The namespace of our keys: from `config` if it is our `Settings`, else the default one."""
    return config.namespace if isinstance(config, Settings) else default_namespace()


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what pydantic says into one error that names the variable."""
    try:
        yield
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()
        )
        raise InvalidSetting(f"{problems} (see `bgtasks settings`)") from None
    except UnicodeDecodeError as error:
        raise InvalidSetting(f".env is not UTF-8 text: {error.reason}; save it as UTF-8") from None


def _refuse_unknown(settings: type[Settings]) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in settings.model_fields}
    in_file = DotEnvSettingsSource(settings).env_vars
    given = [name.upper() for name in (*os.environ, *in_file)]
    for name in sorted({name for name in given if name.startswith(PREFIX)} - known):
        near = nearest(name, known)
        hint = f"did you mean {near}?" if near else "`bgtasks settings` lists them all"
        raise InvalidSetting(f"{name} is not a setting: {hint}")
