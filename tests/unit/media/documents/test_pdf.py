"""PDF: pages as a viewer shows them, from several writers; what is encrypted, damaged, empty, or far too large."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pypdf
import pypdfium2
import pytest

from imgsearch.errors import PictureError
from imgsearch.media.documents import DocumentOptions, Place, close_readers, open_document
from imgsearch.media.documents.contract import AS_USUAL
from imgsearch.media.documents.pdf import open_reader
from imgsearch.types import RGB, Metadata, PixelBudget
from support.pdfs import FORM, QUARTERS, Drawn, pdf, words
from support.pictures import QUADRANTS, quadrants

BUDGET = PixelBudget(4096, 57_600)
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


@pytest.fixture(autouse=True, scope="module")
def ended() -> Iterator[None]:
    yield
    close_readers()


def _page(data: bytes, page: int = 0, budget: PixelBudget = BUDGET) -> RGB:
    return open_reader(io.BytesIO(data), "x.pdf", AS_USUAL).picture(Place(page), budget).pixels


def _quarters(pixels: RGB) -> list[tuple[int, ...]]:
    """Return the colours in the middle of the quarters: top left, top right, bottom left, bottom right."""
    height, width = pixels.shape[:2]
    return [tuple(map(int, pixels[y * height // 4, x * width // 4])) for y in (1, 3) for x in (1, 3)]


def _refused(data: bytes, *passwords: str) -> str:
    with pytest.raises(PictureError) as caught:
        open_reader(io.BytesIO(data), "x.pdf", DocumentOptions(passwords=passwords))
    return str(caught.value)


# ---- what is drawn ------------------------------------------------------------------------------------------


def test_pages_are_drawn_upright_and_cropped() -> None:
    """A page is turned as it says, and shows its crop box."""
    data = pdf(Drawn(), Drawn(turn=90), Drawn(turn=-90), Drawn(crop=(0, 50, 100, 100)))
    assert _quarters(_page(data, 0)) == [RED, GREEN, BLUE, YELLOW]
    assert _quarters(_page(data, 1)) == [BLUE, RED, YELLOW, GREEN]
    assert _quarters(_page(data, 2)) == [GREEN, YELLOW, RED, BLUE]
    assert _quarters(_page(data, 3)) == [RED, GREEN, RED, GREEN]


def test_a_page_without_ink_is_white() -> None:
    """Paper is white where nothing is drawn."""
    assert (_page(pdf(Drawn(draws=""))) == 255).all()


@pytest.mark.parametrize(
    "budget", [PixelBudget(4096, 57_600), PixelBudget(4096, 360_000), PixelBudget(1, 5000)]
)
def test_a_page_is_drawn_at_the_budgets_size(budget: PixelBudget) -> None:
    """A4 has 1241 × 1754 pixels, 150 an inch, and is drawn with as many as the budget has, or a row more."""
    reader = open_reader(io.BytesIO(pdf(Drawn(box=(0, 0, 595.28, 841.89)))), "x.pdf", AS_USUAL)
    picture = reader.picture(Place(0), budget)
    assert (picture.width, picture.height) == (1241, 1754)
    height, width = picture.pixels.shape[:2]
    assert budget.max_pixels <= height * width <= budget.max_pixels + height + width + 1
    assert height / width == pytest.approx(1754 / 1241, rel=0.02)


def test_a_small_page_is_not_enlarged_beyond_what_the_budget_needs() -> None:
    """A stamp has its own pixels; one of a point is drawn with the fewest that the budget allows."""
    data = pdf(Drawn(box=(0, 0, 48, 48)), Drawn(box=(0, 0, 1, 1)))
    assert _page(data, 0).shape == (100, 100, 3)
    assert _page(data, 1).shape == (64, 64, 3)


def test_a_page_of_900_megapixels_is_drawn_small() -> None:
    """Five metres square are no danger: no more is drawn than the budget has."""
    picture = open_reader(io.BytesIO(pdf(Drawn(box=(0, 0, 14400, 14400)))), "x.pdf", AS_USUAL).picture(
        Place(0), BUDGET
    )
    assert picture.width * picture.height == 30_000**2
    assert picture.pixels.size < 3 * 60_000


def test_a_page_that_is_far_too_long_is_refused() -> None:
    """As of any image, the ratio of the sides is 200 at most."""
    reader = open_reader(io.BytesIO(pdf(Drawn(box=(0, 0, 14000, 10)))), "x.pdf", AS_USUAL)
    with pytest.raises(PictureError, match=r"aspect ratio over 200: 14000 × 10 points"):
        reader.picture(Place(0), BUDGET)


def test_boxes_that_make_no_sense_are_letters() -> None:
    """Where its box is empty or none, a page has the size that viewers give it."""
    reader = open_reader(
        io.BytesIO(pdf(Drawn(box=(0, 0, 0, 0)), Drawn(box=(0, 0, 1e9, 1e9)))), "x.pdf", AS_USUAL
    )
    for place in reader.places:
        assert reader.picture(place, BUDGET).width == 1275


def test_forms_and_annotations_are_drawn_and_are_text() -> None:
    """What has been filled in and what has been marked is on the page, for its text, too; what is hidden is not."""
    data = pdf(Drawn(draws="", other=FORM.page), catalog=FORM.catalog, objects=FORM.objects)
    reader = open_reader(io.BytesIO(data), "x.pdf", AS_USUAL)
    pixels = reader.picture(Place(0), BUDGET).pixels
    assert _quarters(pixels)[3] == RED
    assert (pixels[: len(pixels) // 2] < 50).any()
    assert (pixels[len(pixels) // 2 :, : len(pixels) // 2] == 255).all()
    assert reader.text(Place(0)) == "filled"
    assert (reader.picture(Place(0), BUDGET).pixels == pixels).all()


def test_a_form_that_is_not_drawn_is_noted() -> None:
    """Of a form in XFA only what it stands in for is there, and the owner is told."""
    data = pdf(
        Drawn(),
        catalog="/NeedsRendering true /AcroForm << /Fields [] /XFA [(a) 10 0 R] >>",
        objects=("<< /Length 1 >>\nstream\n \nendstream",),
    )
    assert open_reader(io.BytesIO(data), "x.pdf", AS_USUAL).note == "its form (XFA) can't be shown"


def test_pillows_pdf_shows_its_images() -> None:
    """Images that Pillow has made a PDF of look as they did."""
    out = io.BytesIO()
    quadrants((400, 300)).save(out, "PDF", save_all=True, append_images=[quadrants((300, 400)).rotate(180)])
    reader = open_reader(io.BytesIO(out.getvalue()), "x.pdf", AS_USUAL)
    first, second = (reader.picture(place, BUDGET).pixels for place in reader.places)
    assert np.abs(np.subtract(_quarters(first), QUADRANTS)).max() < 12
    assert np.abs(np.subtract(_quarters(second), QUADRANTS[::-1])).max() < 12


def test_matplotlibs_pdf_has_its_text() -> None:
    """A plot in a PDF is drawn, and its words are there to be read."""
    figure = pytest.importorskip("matplotlib.figure").Figure((4, 3))
    figure.text(0.1, 0.5, "Total 23.20 €")
    figure.text(0.1, 0.2, "Größe", color="red")
    out = io.BytesIO()
    figure.savefig(out, format="pdf")
    reader = open_reader(io.BytesIO(out.getvalue()), "x.pdf", AS_USUAL)
    assert reader.text(Place(0)).split("\n") == ["Total 23.20 €", "Größe"]
    pixels = reader.picture(Place(0), BUDGET).pixels.astype(int)
    assert (pixels[..., 0] - pixels[..., 1] > 150).any()


def test_pdfiums_own_pdf_is_read() -> None:
    """A document that PDFium has written has its pages."""
    out = io.BytesIO()
    document = pypdfium2.PdfDocument.new()
    document.new_page(200, 100)
    document.new_page(100, 200)
    document.save(out)
    reader = open_reader(io.BytesIO(out.getvalue()), "x.pdf", AS_USUAL)
    sizes = [reader.picture(place, BUDGET).pixels.shape[:2] for place in reader.places]
    assert sizes == [(170, 340), (340, 170)]


def test_pypdfs_pdf_with_streams_of_objects_is_read() -> None:
    """Compressed objects and cross-references, as of PDF 1.5, are read."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(Drawn(), Drawn(words("second")))))
    for page in writer.pages:
        page.compress_content_streams()
    out = io.BytesIO()
    writer.write(out)
    reader = open_reader(io.BytesIO(out.getvalue()), "x.pdf", AS_USUAL)
    assert _quarters(reader.picture(Place(0), BUDGET).pixels) == [RED, GREEN, BLUE, YELLOW]
    assert reader.text(Place(1)) == "second"


# ---- what it tells ------------------------------------------------------------------------------------------


def test_text_is_what_is_on_the_page() -> None:
    """Text outside of the crop box, which nobody sees, is none of the page's."""
    draws = words("seen", at=(10, 80)) + " " + words("cut away", at=(10, 20))
    reader = open_reader(io.BytesIO(pdf(Drawn(draws, crop=(0, 50, 100, 100)), Drawn())), "x.pdf", AS_USUAL)
    assert [reader.text(place) for place in reader.places] == ["seen", ""]


def test_a_word_that_is_broken_at_a_lines_end_is_one() -> None:
    """The hyphen at the end of a line goes, for people look for the word."""
    draws = words("an exam-", at=(10, 80)) + " " + words("ple of it", at=(10, 66))
    assert open_reader(io.BytesIO(pdf(Drawn(draws))), "x.pdf", AS_USUAL).text(Place(0)) == "an example of it"


def test_lines_say_where_they_stand() -> None:
    """Each line has its corners on the page as it is shown, cropped and turned; the process says the same."""
    draws = words("one", at=(10, 80)) + " " + words("two", at=(10, 60))
    data = pdf(
        Drawn(draws, crop=(0, 50, 100, 100)),
        Drawn(draws, turn=180),
        Drawn(draws="", other=FORM.page),
        catalog=FORM.catalog,
        objects=FORM.objects,
    )
    reader = open_reader(io.BytesIO(data), "x.pdf", AS_USUAL)
    (one, first), (two, second) = reader.lines(Place(0))
    assert (one, two) == ("one", "two")
    assert first == pytest.approx((0.10, 0.27, 0.30, 0.27, 0.30, 0.40, 0.10, 0.40), abs=0.03)
    assert second is not None
    assert second[1] == pytest.approx(0.64, abs=0.03)
    (_, turned), _ = reader.lines(Place(1))
    assert turned == pytest.approx((0.70, 0.80, 0.90, 0.80, 0.90, 0.86, 0.70, 0.86), abs=0.03)
    ((filled, box),) = reader.lines(Place(2))
    assert filled == "filled"
    assert box is not None
    assert box[5] < 0.5
    with open_document(io.BytesIO(data), "x.pdf") as document:
        assert [document.lines(place) for place in document.places] == [
            reader.lines(place) for place in reader.places
        ]


def test_text_beyond_16_bits_and_what_is_no_text() -> None:
    """A character of two halves is one, and control characters are left out: a database takes what comes."""
    figure = pytest.importorskip("matplotlib.figure").Figure((4, 3))
    figure.text(0.1, 0.5, "a\U0001d54fb", font="STIXGeneral")
    out = io.BytesIO()
    figure.savefig(out, format="pdf")
    text = open_reader(io.BytesIO(out.getvalue()), "x.pdf", AS_USUAL).text(Place(0))
    assert text == "a\U0001d54fb"
    assert text.encode()


def test_metadata_is_read() -> None:
    """Title, subject, keywords, program and date are those of the document."""
    info = {
        "Title": "Report \\(2\\)",
        "Subject": "On rain",
        "Keywords": "rain, snow; rain",
        "Creator": "Writer",
        "CreationDate": "D:20240102030405+01'30'",
    }
    assert open_reader(io.BytesIO(pdf(Drawn(), info=info)), "x.pdf", AS_USUAL).metadata() == Metadata(
        taken=datetime(2024, 1, 2, 3, 4, 5),
        offset=90,
        title="Report (2)",
        description="On rain",
        keywords=("rain", "snow"),
        software="Writer",
    )


@pytest.mark.parametrize(
    ("date", "taken", "offset"),
    [
        ("D:20240102030405Z", datetime(2024, 1, 2, 3, 4, 5), 0),
        ("D:20240102030405-08'00", datetime(2024, 1, 2, 3, 4, 5), -480),
        ("20240102", datetime(2024, 1, 2, 12), None),
        ("D:2024", datetime(2024, 1, 1, 12), None),
        ("D:20241399", None, None),
        ("yesterday", None, None),
        ("", None, None),
    ],
)
def test_dates_are_read_as_they_are_written(date: str, taken: datetime | None, offset: int | None) -> None:
    """A date may be short, or none."""
    told = open_reader(io.BytesIO(pdf(Drawn(), info={"CreationDate": date})), "x.pdf", AS_USUAL).metadata()
    assert (told.taken, told.offset) == (taken, offset)


# ---- what is encrypted, damaged, large ----------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128", "AES-128", "AES-256"])
@pytest.mark.parametrize("password", ["secret", "Größe"])
def test_passwords_open_what_is_encrypted(algorithm: str, password: str) -> None:
    """One of the passwords opens a file, by each of PDF's methods; without it the reason says what is missing."""
    if algorithm.startswith("AES"):
        pytest.importorskip("cryptography")
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(Drawn())))
    writer.encrypt(password, "the owner's", algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    assert _refused(out.getvalue()) == "encrypted: it needs a password"
    assert _refused(out.getvalue(), "wrong", "\udcff") == "encrypted: none of the passwords opens it"
    options = DocumentOptions(passwords=("wrong", password))
    reader = open_reader(io.BytesIO(out.getvalue()), "x.pdf", options)
    assert _quarters(reader.picture(Place(0), BUDGET).pixels) == [RED, GREEN, BLUE, YELLOW]


def test_what_only_its_owner_may_change_is_read() -> None:
    """A file that anybody may open needs no password."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(Drawn())))
    writer.encrypt("", "the owner's", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    assert _quarters(_page(out.getvalue())) == [RED, GREEN, BLUE, YELLOW]


def test_damaged_files_have_reasons() -> None:
    """A head alone, a file that is cut off, and one without pages are told apart from sound ones, and say so."""
    assert _refused(b"%PDF-1.7\n") == "corrupt: it can't be opened; its end may be missing"
    assert _refused(pdf(Drawn())[:200]) == "corrupt: it can't be opened; its end may be missing"
    assert _refused(pdf()) == "corrupt: it has no page"


def test_a_table_of_places_that_is_wrong_is_made_anew() -> None:
    """Bytes before the head, and offsets that lie, cost nothing."""
    data = b"junk \n" + pdf(Drawn()).replace(b"0000000", b"0000001")
    assert _quarters(_page(data)) == [RED, GREEN, BLUE, YELLOW]


@pytest.mark.parametrize("count", [b"/Count 2000000000", b"/Count -5", b"/Count 0"])
def test_a_number_of_pages_that_lies_is_not_believed(count: bytes) -> None:
    """The pages are those that there are, or a reason; never two thousand million."""
    reader = open_reader(io.BytesIO(pdf(Drawn()).replace(b"/Count 1", count)), "x.pdf", AS_USUAL)
    assert len(reader.places) == 1
    assert _quarters(reader.picture(Place(0), BUDGET).pixels) == [RED, GREEN, BLUE, YELLOW]


def test_a_broken_page_costs_that_page() -> None:
    """A page whose object is none has a reason, and the others are drawn; drawing that makes no sense is left out."""
    data = pdf(Drawn(), Drawn("q q Q ( [ << BT 1e99 0 0 rg /No Do " + QUARTERS), Drawn())
    before, page, after = data.rpartition(b"<< /Type /Page /Parent")
    data = before + b"42 %".ljust(len(page)) + after
    with open_document(io.BytesIO(data), "x.pdf") as document:
        assert _quarters(document.picture(Place(0), BUDGET).pixels) == [RED, GREEN, BLUE, YELLOW]
        assert document.picture(Place(1), BUDGET).pixels.shape == (209, 209, 3)
        with pytest.raises(PictureError, match="corrupt: page 3: it can't be opened"):
            document.picture(Place(2), BUDGET)
        assert _quarters(document.picture(Place(0), BUDGET).pixels) == [RED, GREEN, BLUE, YELLOW]


# ---- in its process -----------------------------------------------------------------------------------------


def test_its_process_answers_what_it_would_here() -> None:
    """Pixels, sizes, text and metadata that come from the process are those that are made in this one."""
    data = pdf(Drawn(), Drawn(words("text"), turn=90), Drawn(box=(0, 0, 400, 300)), info={"Title": "T"})
    reader = open_reader(io.BytesIO(data), "x.pdf", AS_USUAL)
    with open_document(io.BytesIO(data), "x.pdf") as document:
        assert (document.places, document.note, document.metadata) == (reader.places, "", reader.metadata())
        for place in document.places:
            there, here = document.picture(place, BUDGET), reader.picture(place, BUDGET)
            assert np.array_equal(there.pixels, here.pixels)
            assert (there.width, there.height, there.page) == (here.width, here.height, here.page)
            assert document.text(place) == reader.text(place)


def test_a_document_of_5000_pages_opens_at_once(tmp_path: Path) -> None:
    """All pages are known by their number, and the last is drawn without the others."""
    path = tmp_path / "long.pdf"
    path.write_bytes(pdf(*[Drawn("")] * 4_999, Drawn()))
    with path.open("rb") as file, open_document(file, str(path)) as document:
        assert len(document.places) == 5_000
        assert _quarters(document.picture(Place(4_999), BUDGET).pixels) == [RED, GREEN, BLUE, YELLOW]


def test_a_document_of_a_gigabyte_is_read_where_it_is(tmp_path: Path) -> None:
    """A hole of a gigabyte in a file is neither read nor copied."""
    path = tmp_path / "large.pdf"
    whole = pdf(Drawn())
    start = whole.index(b"xref\n")
    with path.open("wb") as file:
        file.write(whole[:start])
        file.seek((1 << 30) - start, io.SEEK_CUR)
        place = file.tell()
        file.write(whole[start:].replace(b"startxref\n%d" % start, b"startxref\n%d" % place))
    with path.open("rb") as file, open_document(file, str(path)) as document:
        assert _quarters(document.picture(Place(0), BUDGET).pixels) == [RED, GREEN, BLUE, YELLOW]
