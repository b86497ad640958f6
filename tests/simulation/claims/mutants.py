"""Bugs, each as a text of the shipped package that is found once, and what stands there instead."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MUTANTS", "Mutant"]

CLAIMS = "stores/tasks/redis_claims.py"
LUA = "stores/tasks/redis_lua.py"
SESSIONS = "stores/tasks/redis_sessions.py"


class Mutant(NamedTuple):
    """One bug.

    Attributes:
        module: Where, in the package.
    """

    name: str
    module: str
    old: str
    new: str

    @property
    def store(self) -> str:
        """The store that shows it."""
        return "redis" if self.module.startswith("stores/") else "memory"


MUTANTS = (
    # -- the scripts that claim
    Mutant(
        "a-tick-is-claimed-without-compare",
        CLAIMS,
        "if seen ~= due then return refused('taken', id, seen) end",
        "if seen == '' then return refused('taken', id, seen) end",
    ),
    Mutant(
        "a-claim-does-not-move-the-job",
        CLAIMS,
        "local token = starts(job, following, began)",
        "local token = starts(job, due, began)",
    ),
    Mutant(
        "tokens-are-the-clock",
        CLAIMS,
        "whole(math.max((tonumber(job.token) or 0) + 1, now))",
        "whole(now)",
    ),
    Mutant(
        "overlap-is-ignored-by-ticks",
        CLAIMS,
        "and overlap ~= 'allow'",
        "and overlap == 'skip'",
    ),
    Mutant(
        "nothing-runs-beside-another",
        CLAIMS,
        " and overlap ~= 'allow'",
        "",
    ),
    Mutant(
        "overlap-is-ignored-by-offers",
        CLAIMS,
        "if beside ~= '1' and call('EXISTS', key('going', was.job)) == 1 then",
        "if beside == 'never' then",
    ),
    Mutant(
        "a-patient-tick-is-skipped-beside-a-run",
        CLAIMS,
        "if going and patient == '1' then return refused('busy', id, seen) end",
        "",
    ),
    Mutant(
        "an-offer-is-accepted-twice",
        CLAIMS,
        "if was.status ~= 'pending' then return refused('taken', was.job, due) end",
        "if was.status == 'running' then return refused('taken', was.job, due) end",
    ),
    Mutant(
        "a-known-run-is-answered-to-another-session",
        CLAIMS,
        "if was.session == session and was.status == 'running' then",
        "if was.status == 'running' then",
    ),
    Mutant(
        "what-was-missed-is-not-written-down",
        CLAIMS,
        "skip(run .. ':missed', job, due, missed)",
        "",
    ),
    # -- the script that ends
    Mutant(
        "the-end-of-a-lost-run-is-accepted",
        CLAIMS,
        "if was.status ~= 'running' then return was.status == status and 1 or 0 end",
        "",
    ),
    Mutant(
        "what-was-given-back-is-not-offered",
        CLAIMS,
        "follow(was, again == '1')",
        "follow(was, false)",
    ),
    # -- what a run leaves
    Mutant(
        "a-run-that-is-over-still-goes-on",
        LUA,
        "call('ZREM', key('going', was.job), was.id)",
        "",
    ),
    Mutant(
        "a-run-that-is-over-is-still-its-session-s",
        LUA,
        "call('ZREM', key('session-runs', was.session), was.id)",
        "",
    ),
    Mutant(
        "attempts-have-no-end",
        LUA,
        "tonumber(was.attempt) < tonumber(was.attempts)",
        "tonumber(was.attempt) < 99",
    ),
    Mutant(
        "attempts-are-not-counted",
        LUA,
        "local attempt = whole(was.attempt + 1)",
        "local attempt = whole(was.attempt + 0)",
    ),
    Mutant(
        "an-interval-is-due-at-once-after-a-loss",
        LUA,
        "local due = after(job[4])\n    call(",
        "local due = again and at or after(job[4])\n    call(",
    ),
    Mutant(
        "an-interval-is-never-due-again-after-a-loss",
        LUA,
        "elseif job[4] and (job[3] or '') == '' then",
        "elseif not again and job[4] and (job[3] or '') == '' then",
    ),
    # -- sessions
    Mutant(
        "a-beat-revives-a-session-that-was-given-up",
        SESSIONS,
        "local session, limit = ARGV[1], tonumber(ARGV[4])\nlocal alive = is_alive(session)",
        "local session, limit = ARGV[1], tonumber(ARGV[4])\nlocal alive = true",
    ),
    Mutant(
        "a-beat-keeps-alive-for-too-short",
        SESSIONS,
        "if alive then call('ZADD', prefix .. 'sessions', whole(now + ARGV[2]), session) end",
        "if alive then call('ZADD', prefix .. 'sessions', whole(now + ARGV[2] / 2), session) end",
    ),
    Mutant(
        "nobody-is-found-dead",
        SESSIONS,
        "call('ZRANGEBYSCORE', prefix .. 'sessions', '-inf', at)",
        "call('ZRANGEBYSCORE', prefix .. 'sessions', '-inf', '0')",
    ),
    Mutant(
        "runs-of-the-dead-are-not-followed",
        SESSIONS,
        "follow(was, true)",
        "follow(was, false)",
    ),
    Mutant(
        "who-leaves-leaves-its-runs-behind",
        SESSIONS,
        "give_up_session(ARGV[1], {})",
        "call('ZREM', prefix .. 'sessions', ARGV[1])",
    ),
    # -- the process
    Mutant(
        "trust-is-counted-from-the-answer",
        "claims/session.py",
        "self._trust(self.times.demoted_at(sent))",
        "self._trust(self.times.demoted_at(received))",
    ),
    Mutant(
        "no-margin",
        "claims/session.py",
        "self._trust(self.times.demoted_at(sent))",
        "self._trust(sent + self.times.lease)",
    ),
    Mutant(
        "a-session-that-cannot-be-renewed-goes-on",
        "claims/session.py",
        """        if self.holds:
            self._arm()
        elif self.id:
            self._end("the claim could not be renewed")""",
        """        if self.holds:
            self._arm()""",
    ),
    Mutant(
        "a-run-that-is-claimed-again-is-begun-again",
        "claims/desk.py",
        "        if self._in_hand.take(claimed.run_id):",
        "        if self._in_hand.take(claimed.run_id) or True:",
    ),
    Mutant(
        "what-nobody-does-is-not-noticed",
        "claims/in_hand.py",
        "        found = [run for run in strange if run.run_id in self._strange]",
        "        found = [run for run in strange if run.run_id in self._strange and False]",
    ),
    Mutant(
        "clocks-are-taken-to-run-alike",
        "claims/session.py",
        "self._trust(self.times.demoted_at(sent))",
        "self._trust(sent + self.times.lease - self.times.margin)",
    ),
    Mutant(
        "runs-are-not-cancelled-when-a-session-is-lost",
        "claims/desk.py",
        "if run.claim is not None and not isinstance(run.ending, Cancelled):",
        "if run.claim is None and not isinstance(run.ending, Cancelled):",
    ),
    Mutant(
        "a-claim-outlives-its-session",
        "claims/desk.py",
        "return claim.session == self.session.id and self.session.holds",
        "return self.session.holds",
    ),
    Mutant(
        "a-claim-that-comes-too-late-is-begun",
        "claims/desk.py",
        "if self._dispatcher.admits and self.holds(claim) and not job.removed:",
        "if self._dispatcher.admits and not job.removed:",
    ),
    Mutant(
        "a-run-begins-as-soon-as-it-is-claimed",
        "claims/desk.py",
        "ahead = min(begins, now + 2 * AHEAD) if begins > now else None",
        "ahead = None",
    ),
    Mutant(
        "an-end-is-told-once",
        "claims/ending.py",
        "        said = first(self._open)\n",
        "        said = first(self._open)\n        self._open = {}\n",
    ),
    Mutant(
        "a-run-that-was-cut-short-is-not-given-back",
        "claims/ending.py",
        'f"cancelled: {reason}", not claim.given_up',
        'f"cancelled: {reason}", False',
    ),
    Mutant(
        "one-missed-tick-is-not-counted",
        "claims/plan.py",
        "ticks = passed if runs else passed + 1",
        "ticks = passed",
    ),
    Mutant(
        "a-deployment-forgets-what-is-overdue",
        "claims/declared.py",
        "if row.next_run_at is not None and row.next_run_at <= now:",
        "if row.next_run_at is not None and row.next_run_at is now:",
    ),
)
