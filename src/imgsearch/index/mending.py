"""What can be mended of a damaged index: what is lost leaves the catalogue, so that it can be embedded again.

Every step leaves an index that is no worse: killed anywhere, the next repair or run goes on from there.
"""

from __future__ import annotations

import os

from imgsearch.index.audit import Audit
from imgsearch.index.checking import Findings
from imgsearch.index.vectors import segment_name, write_header


def mend(audit: Audit, findings: Findings, kind: tuple[int, str]) -> None:
    """Take everything that was found damaged out of the catalogue, and put right what costs nothing.

    ``kind`` is the index's dimension and fingerprint. The caller holds the writer lock. Raises StorageError.
    """
    for damage in findings.damages:
        audit.drop_contents(damage.contents)
    audit.drop_without_content()
    # Triggers have kept the figures along; where they began wrong, they are wrong still.
    audit.recount()
    for number in {damage.segment for damage in findings.damages if damage.segment}:
        kinds = {damage.kind: damage for damage in findings.damages if damage.segment == number}
        if "derived" in kinds:
            audit.drop_derived(number)
        if kinds.keys() == {"derived"}:
            continue
        if not audit.contents_of(number):
            _drop_segment(audit, number)
            continue
        if "short" in kinds:
            audit.shorten(number, kinds["short"].rows)
        if "header" in kinds:
            # The vectors below it have proved to be this index's own.
            write_header(os.path.join(audit.folder, "vectors", segment_name(number)), *kind)


def _drop_segment(audit: Audit, number: int) -> None:
    last = max(known for known, _ in audit.segments())
    audit.drop_segment(number, last if last > number else number + 1)
