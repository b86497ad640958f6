"""Estimates err high."""

from __future__ import annotations

import pytest

from bgtasks.llm.estimate import of_messages, of_text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # Counted with o200k_base, the tokenizer of GPT-4o and later.
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("def count(items: list[int]) -> int:\n    return sum(1 for _ in items)\n", 20),
        ('{"subject": "Walter Pettifer", "predicate": "lives_in", "object": "Uppsala"}', 24),
        ("Zażółć gęślą jaźń", 11),
        ("我昨天去了上海", 4),
        ("2026-09-01 07:19 2026-09-01 07:24", 21),
    ],
)
def test_they_are_above_what_a_tokenizer_counts(text: str, tokens: int) -> None:
    assert tokens <= of_text(text) <= 3 * tokens


def test_all_that_is_sent_counts() -> None:
    plain = of_messages([{"role": "user", "content": "x" * 300}])
    assert 100 < plain < 150
    assert of_messages([{"role": "user", "content": "x" * 300}], [{"name": "y" * 300}], None) > plain + 100
    assert of_messages([{"role": "assistant", "content": "", "tool_calls": ["z" * 300]}]) > 100


def test_what_cannot_be_encoded_counts_too() -> None:
    assert of_text("\ud800" * 30) == 30
