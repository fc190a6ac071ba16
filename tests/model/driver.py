"""Take one step at a time, in the product and in the model, and compare the two: nothing here chooses what to do.

All arguments are small numbers, flags and names, so that a list of steps can be kept, printed and taken again.
"""

from __future__ import annotations

from mainspring.verify import verify
from tests.model.choices import moment
from tests.model.compare import Mismatch
from tests.model.expected import LEASE
from tests.model.firing import Firing
from tests.model.looking import Looking
from tests.model.work import Work
from tests.promises.checker import violations
from tests.promises.evidence import gather


class Driver(Work, Firing, Looking):
    """Everything that can be done to a store; each public method is a step."""

    def finally_verified(self) -> None:
        """Judge the whole history as a proof by faults is judged, and let `db verify` look for faults of its own."""
        self._tick(LEASE)
        self.rescue()
        self._tick(LEASE)
        self.rescue()
        self.maintain()
        self.fire()
        evidence = gather(self.store.database, quiet=False, accepted=frozenset(self.accepted))
        found = [str(violation) for violation in violations(evidence)]
        verdict = verify(self.store.database, moment(self.highest_wall))
        found += [str(finding) for finding in verdict.findings if not finding.warning]
        if found:
            raise Mismatch("\n".join(found))
