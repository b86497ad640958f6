"""Which endpoint, key and model serve a purpose: from settings, and what to name when they do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from bgtasks.errors import ConfigurationError
from bgtasks.llm.types import PURPOSES, Endpoint, Purpose

if TYPE_CHECKING:
    from bgtasks.settings import Settings

__all__ = ["check", "endpoints", "setting", "setting_of_model"]

type Part = Literal["url", "key", "model"]


def endpoints(settings: Settings) -> dict[Purpose, Endpoint]:
    """An endpoint for each purpose that has a model.

    What a purpose does not set is that of chat; embeddings need a model of their own. The key of chat is sent
    to the URL of chat only: another URL needs a key of its own, or gets none.

    Raises:
        ConfigurationError: There is no model at all, or no URL, or one that cannot be one.
    """
    found: dict[Purpose, Endpoint] = {}
    for purpose in PURPOSES:
        own = "" if purpose == "chat" else f"{purpose}_"
        model = getattr(settings, f"llm_{own}model")
        if model is None and purpose in ("extraction", "flash"):
            model = settings.llm_model
        if model is None:
            continue
        url = getattr(settings, f"llm_{own}url") or settings.llm_url
        if url is None:
            raise ConfigurationError(
                f"{_name(purpose, 'model')} names a model, but no URL says where it is: set BGTASKS_LLM_URL, "
                f"such as https://openrouter.ai/api/v1"
            )
        key = getattr(settings, f"llm_{own}key")
        if key is None and url == settings.llm_url:
            key = settings.llm_key
        found[purpose] = Endpoint(url, key, model)
    if not found:
        raise ConfigurationError("no model is configured: set BGTASKS_LLM_MODEL, and BGTASKS_LLM_URL")
    check(found)
    return found


def check(given: Mapping[Purpose, Endpoint]) -> None:
    """Refuse what cannot be an endpoint.

    Raises:
        ConfigurationError: A URL of another kind, or with credentials in it; a key that no header can carry.
    """
    for purpose, endpoint in given.items():
        try:
            parts = urlsplit(endpoint.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise ConfigurationError(
                f"{setting(purpose, 'url')}: it is no base URL; write it as https://host/v1"
            ) from None
        if "@" in parts.netloc or parts.query or parts.fragment:
            # The HTTP client logs URLs.
            raise ConfigurationError(
                f"{setting(purpose, 'url')}: a base URL holds no credentials, query or fragment; the key is "
                f"given by {setting(purpose, 'key')}"
            )
        key = endpoint.key.get_secret_value() if endpoint.key else ""
        if not (key.isascii() and (key.isprintable() and " " not in key)):
            raise ConfigurationError(f"{setting(purpose, 'key')}: it holds characters that no key has")


def setting(purpose: Purpose, part: Part) -> str:
    """The setting, or the two, that say this of a purpose."""
    own = _name(purpose, part)
    return own if purpose == "chat" else f"{own}, or else {_name('chat', part)}"


def setting_of_model(purpose: Purpose) -> str:
    """What may have named the model."""
    own = _name(purpose, "model") if purpose == "embedding" else setting(purpose, "model")
    return f"{own} (or BGTASKS_KG_EXTRACTION_MODEL)" if purpose == "extraction" else own


def _name(purpose: Purpose, part: Part) -> str:
    return f"BGTASKS_LLM_{'' if purpose == 'chat' else f'{purpose.upper()}_'}{part.upper()}"
