"""What is wrong in the projects of a base, and what can be put right: ``mlops doctor``.

Looking creates and changes nothing, but for one thing that SQLite insists on: what a writer killed in the
middle of a transaction left in a database is undone before anything can be read from it. With ``fix``,
what is safe is put right: nothing that somebody stored is lost by it. The rest needs a person's decision.
"""

from __future__ import annotations

from mlops.reporting.doctor.examination import examine
from mlops.reporting.doctor.finding import Check, Finding
from mlops.reporting.doctor.logs import rebuild_links

__all__ = ["Check", "Finding", "examine", "rebuild_links"]
