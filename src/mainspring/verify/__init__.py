"""Check a database against brute force: the ledger against the clocks of the world, the tables against each other.

Shares no code with the scheduler: fire times, fields and the rules for changed clocks are computed here once more.
"""

from mainspring.verify.checker import verify
from mainspring.verify.verdict import Finding, Verdict

__all__ = ["Finding", "Verdict", "verify"]
