"""Every kind of file that readers often get wrong, by siblings that the tests draw: each right, or skipped honestly."""

from __future__ import annotations

import pytest

from support.siblings import KINDS, drawn

# pytest undoes after each test what silences Pillow for good.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("kind", KINDS)
def test_each_sibling_of_a_kind_is_right_or_skipped_honestly(kind: str) -> None:
    """No file of the kind becomes another picture, and none that is intact is called corrupt or no image."""
    files = drawn(kind)
    judged = {file.name: file.judge() for file in files}
    assert len(judged) == len(files) >= 2
    assert {name: said for name, said in judged.items() if said[0] not in ("right", "skipped")} == {}
