"""One start per tick in a cluster: what is due is claimed in a store, by a session trusted for a while.

`plan` judges what a job that is due is to do, `session` keeps this process known, `desk` claims and tells.
"""

from __future__ import annotations

from bgtasks.claims.claim import Claim, current_claim
from bgtasks.claims.commands import Handler
from bgtasks.claims.desk import Desk
from bgtasks.claims.job_types import JobType, ScheduledJob
from bgtasks.claims.jobs import Jobs
from bgtasks.claims.stored import Stored
from bgtasks.claims.upkeep import Retention

__all__ = [
    "Claim",
    "Desk",
    "Handler",
    "JobType",
    "Jobs",
    "Retention",
    "ScheduledJob",
    "Stored",
    "current_claim",
]
