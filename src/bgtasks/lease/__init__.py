"""Who leads: a lease that one node has at a time, and the terms it is had for.

The algorithm is that of a lease with a local trust deadline (Gray and Cheriton, "Leases", 1989), as
Kubernetes' client-go and River's elector have it, with fencing tokens and a lock delay after an unclean loss
(Burrows, "The Chubby lock service", 2006). `docs/explanation/leadership.md` draws its states.
"""

from __future__ import annotations

from bgtasks.lease.crew import Crew
from bgtasks.lease.elector import Elector
from bgtasks.lease.term import Term
from bgtasks.lease.times import LeaseTimes

__all__ = ["Crew", "Elector", "LeaseTimes", "Term"]
