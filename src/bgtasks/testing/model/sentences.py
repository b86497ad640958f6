"""A message cut into sentences, and a sentence into clauses that a rule can read from the left."""

from __future__ import annotations

import re

__all__ = ["LONGEST_TEXT", "clauses", "sentences", "words"]

_NOISE = re.compile(
    r"\[[^\]\n]{0,400}\]"  # [shares a photo: …], [1]
    r"|https?://\S+"
    r"|[*_`#>~|]+"
    r"|\([^()\n]{0,300}\)"
)
_EMOJI = re.compile("[\u2190-\u2bff\u3030\ufe0f\U0001f000-\U0001faff]+|[:;]-?[)(DPp]+(?=\\s|$)")
_SHORT = re.compile(r"\b(Dr|Mrs|Mr|Ms|St|Prof|vs|etc|e\.g|i\.e)\.(?=\s)")
_INITIALS = re.compile(r"(?<=[\w!?.] )(?:[A-Z]\.){2,}(?=\s|$)")
_ENDS = re.compile(r"(?<=[.!?…])[\"”’')]*\s+|[\n;]+|(?<![-–—\s])\s*[-–—]+\s+|—|\s*…\s*|\.{3,}|:\s+")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})

_CONTRACTED = {
    "i'm": "I am", "im": "I am", "i've": "I have", "ive": "I have", "i'd": "I would", "i'll": "I will",
    "we're": "we are", "we've": "we have", "we'd": "we would", "we'll": "we will", "don't": "do not",
    "dont": "do not", "doesn't": "does not", "didn't": "did not", "can't": "can not", "cannot": "can not",
    "couldn't": "could not", "won't": "will not", "wouldn't": "would not", "isn't": "is not",
    "wasn't": "was not", "aren't": "are not", "haven't": "have not", "hasn't": "has not",
    "hadn't": "had not", "weren't": "were not", "wanna": "want to", "gonna": "going to", "i": "I",
    "it's": "it is", "that's": "that is", "he's": "he is", "she's": "she is", "they're": "they are",
    "you're": "you are", "you've": "you have", "there's": "there is", "what's": "what is",
    "who's": "who is", "let's": "let us", "gotta": "have to",
}  # fmt: skip

_JOINTS = re.compile(
    r",?\s+(?:and|but|so|because|cause|'cause|cuz|while|although|though|since|whereas|as)\s+"
    r"(?=(?:I|I'm|I've|I'd|I'll|we|we're|we've|my|our|he|she|it|it's|they|you|that|this|there|the|his|her)\b)"
    r"|,\s+(?=(?:I|I'm|I've|I'd|we|we're|we've|my|our|he|she|it|it's|they|you|that|this|there|which|who)\b)"
    r"|,\s+(?:and|but|so)\s+"
    r"|,?\s+when\s+"
    r"|,\s+(?:because|although|though|if|where)\s+"
)
LONGEST_TEXT = 4000
"""Characters of a message that are read: nobody says more in one breath, and a rule must not take long."""


def sentences(text: str) -> list[str]:
    """The sentences of a message that state something: without questions, links, emoji and brackets."""
    cleaned = text[:LONGEST_TEXT].translate(_QUOTES)
    cleaned = _EMOJI.sub(". ", _NOISE.sub(" ", cleaned))
    cleaned = _INITIALS.sub(" ", _SHORT.sub(r"\1", cleaned))
    found = []
    for sentence in _ENDS.split(cleaned):
        stripped = sentence.strip(" \t\r,-")
        if stripped.startswith('"'):  # what somebody else said
            continue
        if stripped and not stripped.rstrip("\"')").endswith("?") and len(stripped) <= 600:
            found.append(stripped)
    return found


def clauses(sentence: str) -> list[str]:
    """The clauses of a sentence, in order."""
    return [clause for part in _JOINTS.split(sentence) if (clause := part.strip(" \t,.!"))]


def words(clause: str) -> list[str]:
    """The words of a clause, contractions written out; a comma stays on the word before it."""
    found: list[str] = []
    for word in clause.split():
        bare = word.rstrip(",.!?:")
        tail = word[len(bare) :]
        written = _CONTRACTED.get(bare.lower())
        if written is None:
            found.append(bare + ("," if tail else ""))
        else:
            parts = written.split()
            found += [*parts[:-1], parts[-1] + ("," if tail else "")]
    return [word for word in found if word not in ("", ",")]
