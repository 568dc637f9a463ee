"""Files looked up in stretches are found as if each were asked for."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.index import lookup
from imgsearch.index.lookup import FileLookup
from imgsearch.index.reader import ImageIndex
from support import fakes
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model
NAMES = [*(f"{number}.png" for number in range(12)), "a/1.png", "a/2.png", "a-b/1.png", "\udce4.png", "z.png"]


def test_a_file_is_found_in_whatever_order_files_are_asked_for(fake_model: FakeModel, tmp_path: Path) -> None:
    """With stretches of any length, known and unknown paths in any order give what single lookups give."""
    for number, name in enumerate(NAMES):
        paint(tmp_path / "p" / name, (number, 9, 9))
    run(tmp_path / "i", tmp_path / "p")
    with ImageIndex(str(tmp_path / "i")) as index:
        (root,) = index.catalog.roots()

        @settings(max_examples=40, deadline=None)
        @given(st.lists(st.sampled_from([*NAMES, "", "0", "a", "a/0.png", "zz"])), st.integers(1, 20))
        def holds(paths: list[str], at_once: int) -> None:
            lookup._AT_ONCE, kept = at_once, lookup._AT_ONCE
            try:
                files = FileLookup(index.catalog, root.id)
                assert [files.find(path) for path in paths] == [
                    index.catalog.file(root.id, path) for path in paths
                ]
            finally:
                lookup._AT_ONCE = kept

        holds()
