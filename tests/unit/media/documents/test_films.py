"""Films: their formats, colours, turns and proportions, the frames that are chosen, and what is wrong with some."""

from __future__ import annotations

import io
import os
import random
import struct
from contextlib import suppress
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from imgsearch.errors import PictureError
from imgsearch.media import colour
from imgsearch.media.documents import document_format, open_document
from imgsearch.media.documents import film as film_reader
from imgsearch.media.documents.contract import DocumentOptions, Place
from imgsearch.media.documents.film import Film, open_reader
from imgsearch.media.documents.film_frames import Candidate, choose_moments, thumbnail, wanted
from imgsearch.media.limits import TooLong
from imgsearch.media.metadata.film import from_tags
from imgsearch.types import RGB, Metadata, Picture, PixelBudget
from support.decoded import off as different
from support.decoded import quarters
from support.films import WRITERS, film, scenes, sound, turnable
from support.pictures import QUADRANTS, encode, scene
from support.profiles import hdr, light
from support.tagged import fields

BUDGET = PixelBudget(4096, 57600)


def opened(data: bytes, frames: int = 0) -> Film:
    return open_reader(io.BytesIO(data), "film.mp4", DocumentOptions(frames=frames))


def only(data: bytes) -> Picture:
    """Return the picture of a film that has one."""
    reader = opened(data)
    [place] = reader.places
    return reader.picture(place, BUDGET)


def refusal(data: bytes) -> PictureError:
    """Return the error of a film of which nothing can be shown."""
    try:
        reader = opened(data)
        reader.picture(reader.places[0], BUDGET)
    except PictureError as error:
        return error
    raise AssertionError("it is shown")


def off(found: list[tuple[int, ...]], wanted: tuple[tuple[int, ...], ...] = QUADRANTS) -> int:
    return int(np.abs(np.array(found) - np.array(wanted)).max())


@pytest.mark.parametrize(("extension", "container", "codec", "pixels"), WRITERS)
def test_films_of_all_kinds_are_read(extension: str, container: str, codec: str, pixels: str) -> None:
    """A film of three scenes is found to have three frames, each of which shows its scene, in its colours."""
    size = (128, 96)
    # What H.263 knows no other name for than its own proportions, 12:11, is written with them.
    as_shown = (140, 96) if codec == "h263" else size
    reader = opened(film(scenes(3, 10, size), container, codec, pixels))
    assert len(reader.places) == 3
    for place in reader.places:
        assert place.time == place.page / 1000
        picture = reader.picture(place, BUDGET)
        assert (picture.width, picture.height, picture.page) == (*as_shown, place.page)
        wanted = np.asarray(scene(place.page // 1000, size).resize(as_shown)).astype(int)
        assert np.abs(picture.pixels - wanted).mean() < 12


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_film_is_turned_as_it_says(container: str, turned: int, mirrored: bool) -> None:
    """A film that was recorded with the camera on its side, or by one that mirrors, is put upright."""
    picture = only(film(turnable(), container, turned=turned, mirrored=mirrored))
    upright = turnable()[0].rotate(-turned, expand=True)
    if mirrored:
        upright = upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    wanted = quarters(Picture(np.asarray(upright), *upright.size))
    assert (picture.width, picture.height) == upright.size
    assert off(quarters(picture), tuple(wanted)) < 8


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "libx264"), ("mpegts", "mpeg2video"), ("mov", "mjpeg")]
)
def test_pixels_that_are_not_square_are_stretched(container: str, codec: str) -> None:
    """A film whose pixels are wider than high has the size that a player shows."""
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    picture = only(film(turnable(size=(96, 96)), container, codec, pixels, aspect=Fraction(4, 3)))
    assert (picture.width, picture.height) == (128, 96)
    assert picture.pixels.shape == (96, 128, 3)
    assert off(quarters(picture)) < 8


def test_proportions_that_nobody_means_are_passed_over() -> None:
    """Pixels that are said to be a hundred times as wide as high are square."""
    picture = only(film(turnable(), aspect=Fraction(100, 1)))
    assert (picture.width, picture.height) == (96, 64)


def test_a_turned_film_with_pixels_that_are_not_square() -> None:
    """Pixels are stretched before the picture is turned."""
    picture = only(film(turnable(size=(96, 96)), aspect=Fraction(2, 1), turned=90))
    assert (picture.width, picture.height) == (96, 192)


BT601, BT709, BT2020 = 5, 1, 9
MATRICES = {BT601: 6, BT709: 1, BT2020: 9}
"""Swscale's numbers for the matrices → those of H.273."""


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9", "ffv1"])
@pytest.mark.parametrize("matrix", [BT601, BT709, BT2020])
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_decoded_as_they_were_encoded(codec: str, matrix: int, full: bool) -> None:
    """The matrix and the range that a film names are those by which its colours are decoded."""
    said = {"colorspace": MATRICES[matrix], "color_range": 2 if full else 1}
    said |= {"color_primaries": 1, "color_trc": 1}
    data = film(turnable(), "matroska", codec, matrix=matrix, full=full, colours=said)
    assert off(quarters(only(data))) < 6


@pytest.mark.parametrize(("size", "matrix"), [((720, 480), BT601), ((720, 576), BT601), ((1280, 720), BT709)])
def test_a_film_that_names_no_matrix_has_that_of_its_size(size: tuple[int, int], matrix: int) -> None:
    """As players have it, films of up to the size of a DVD are BT.601, larger ones BT.709."""
    said = {"colorspace": 2, "color_primaries": 2, "color_trc": 2}
    data = film(turnable(1, size), "matroska", "mpeg4", matrix=matrix, colours=said)
    assert off(quarters(only(data))) < 8


@pytest.mark.parametrize("codec", ["prores_ks", "ffv1"])
def test_ten_bits_are_as_good_as_eight(codec: str) -> None:
    """A film of 10 bits has the same colours."""
    pixels = "yuv422p10le" if codec == "prores_ks" else "yuv420p10le"
    container = "mov" if codec == "prores_ks" else "matroska"
    said = {"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1}
    data = film(turnable(), container, codec, pixels, matrix=BT709, colours=said)
    assert off(quarters(only(data))) < 6


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_hdr_is_shown_as_photographs_in_hdr_are(transfer: int) -> None:
    """The white of a page, 203 cd/m², is about white, and what is darker keeps its shade."""
    greys = np.array([60, 120, 180, 250])
    signal = hdr(transfer, 203 * light(greys / 255))[:, None].repeat(3, 1)
    said = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": transfer}
    image = Image.fromarray(fields(np.round(signal * 255)))
    data = film([image] * 2, "matroska", "ffv1", "yuv420p10le", matrix=BT2020, colours=said)
    assert different(only(data), greys) <= 14


def test_wide_colours_become_those_of_srgb() -> None:
    """A film in Display P3, as phones record it, has the colours that a player shows."""
    said = {"colorspace": 1, "color_range": 1, "color_primaries": 12, "color_trc": 1}
    plain, wide = (
        only(film(turnable(), "mp4", matrix=BT709, colours={**said, "color_primaries": primaries}))
        for primaries in (1, 12)
    )
    profile = colour.from_cicp(12, 1)
    wanted = colour.to_srgb(Image.fromarray(plain.pixels), profile)
    assert np.abs(np.asarray(wanted).astype(int) - wide.pixels).max() <= 3
    assert off(quarters(wide), tuple(quarters(plain))) > 15


def test_frames_are_chosen_by_what_they_show() -> None:
    """Where fewer frames are asked for than there are scenes, all of them show something else."""
    reader = opened(film(scenes(6, 10), "mp4"), frames=4)
    seconds = [place.page // 1000 for place in reader.places]
    assert len(seconds) == 4
    assert len(set(seconds)) == 4
    assert seconds == sorted(seconds)


def test_what_does_not_change_is_one_frame() -> None:
    """A minute in which nothing happens is one frame."""
    assert len(opened(film(scenes(1, 600, (64, 48)), "mp4")).places) == 1


@pytest.mark.parametrize(("minutes", "frames"), [(0, 3), (1, 5), (10, 23), (60, 40), (600, 40)])
def test_long_films_have_more_frames_than_short_ones(minutes: int, frames: int) -> None:
    """Three frames, two more for each minute, 40 at most."""
    assert wanted(0, minutes * 60_000) == frames


def test_length_counts_where_all_differ_alike() -> None:
    """Of frames that all differ alike, those are kept that are far apart in time."""
    squares = [np.zeros((16, 16, 3), np.uint8) for _ in range(16)]
    for number, square in enumerate(squares):
        row, column = 4 * (number // 4), 4 * (number % 4)
        square[row : row + 4, column : column + 4] = 255
    candidates = [Candidate(1000 * number, square) for number, square in enumerate(squares)]
    moments = choose_moments(candidates, 4, 16_000)
    assert len(moments) == 4
    assert min(np.diff(moments)) >= 3000


@pytest.mark.parametrize("keyframes", [10, 1000], ids=["keyframes", "one keyframe"])
@pytest.mark.parametrize("ground", ["black", "white", "#030405"])
def test_blank_frames_are_left_out(keyframes: int, ground: str) -> None:
    """A film that fades in from black is not shown by its black frames, even if those are its keyframes."""
    blank = [Image.new("RGB", (96, 64), ground)] * 15
    encoder = {"sc_threshold": "0"}
    reader = opened(film([*blank, *scenes(1, 15)], "mp4", keyframes=keyframes, encoder=encoder))
    [place] = reader.places
    assert place.page >= 1500
    assert (
        np.abs(reader.picture(place, BUDGET).pixels - np.asarray(scene(0, (96, 64))).astype(int)).mean() < 12
    )


def test_a_film_of_nothing_has_one_frame() -> None:
    """A film that is black from start to end is black."""
    picture = only(film([Image.new("RGB", (96, 64))] * 20))
    assert picture.pixels.max() < 10


@pytest.mark.parametrize(
    ("container", "codec", "muxer"),
    [
        ("mp4", "libx264", {}),
        ("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("matroska", "libx264", {"live": "1"}),
        ("webm", "libvpx-vp9", {}),
        ("avi", "mpeg4", {}),
        ("mpegts", "libx264", {}),
        ("mpegts", "libx264", {"mpegts_m2ts_mode": "1"}),
    ],
    ids=["mp4", "fragments", "live", "webm", "avi", "ts", "m2ts"],
)
def test_any_moment_can_be_asked_for(container: str, codec: str, muxer: dict[str, str]) -> None:
    """The frame of a moment between two keyframes is the one that a player shows then; after the end, the last."""
    shades = [scene(1).point(lambda value, n=n: value // 2 + 2 * n) for n in range(40)]
    small = [shade.resize((96, 64)) for shade in shades]
    reader = opened(film(small, container, codec, keyframes=15, muxer=muxer, encoder={"bf": "0"}))
    for moment, number in [(0, 0), (750, 7), (1500, 15), (2349, 23), (3900, 39), (99_000, 39)]:
        picture = reader.picture(Place(moment, moment / 1000), BUDGET)
        assert picture.page == moment
        found = picture.pixels.mean() - np.asarray(small[0]).mean()
        assert abs(found / 2 - number) < 1.2, moment


def test_who_knows_the_moment_need_not_wait_for_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film that is opened for one moment chooses no frames."""
    monkeypatch.setattr(film_reader, "thumbnail", None)
    reader = opened(film(scenes(3)), frames=-1)
    assert list(reader.places) == []
    wanted = np.asarray(scene(2, (96, 64))).astype(int)
    assert np.abs(reader.picture(Place(2500, 2.5), BUDGET).pixels - wanted).mean() < 12


def test_frames_are_made_no_larger_than_needed() -> None:
    """A picture has twice the sides that the pixel budget leaves, so that the resize that follows averages."""
    picture = only(film([scene(1, (1280, 720))], "mp4", matrix=BT709))
    assert (picture.width, picture.height) == (1280, 720)
    assert picture.pixels.shape == (360, 640, 3)
    assert (
        np.abs(picture.pixels - np.asarray(scene(1, (1280, 720)).resize((640, 360))).astype(int)).mean() < 8
    )


def test_a_film_that_claims_ten_hours() -> None:
    """A film that claims to last far longer than it does has the frames that there are, and takes no longer."""
    data = film(scenes(4), "matroska", keyframes=5)
    place = data.index(b"\x44\x89\x88") + 3  # the element Duration, in milliseconds
    assert struct.unpack_from(">d", data, place)[0] == 4000
    data = data[:place] + struct.pack(">d", 36_000_000.0) + data[place + 8 :]
    with av.open(io.BytesIO(data)) as container:
        assert container.duration == 36_000_000_000
    reader = opened(data, frames=4)
    assert [place.page // 1000 for place in reader.places] == [0, 1, 2, 3]


def test_a_long_film_is_sought_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a film of an hour 120 keyframes are looked at, of 360 that there are."""
    data = film(scenes(2, 1800, (32, 16)), "mp4", "mpeg4", rate=1)
    looked = []
    monkeypatch.setattr(film_reader, "thumbnail", lambda frame: looked.append(frame) or thumbnail(frame))
    minutes = [place.page // 60_000 for place in opened(data).places]
    assert len(looked) == 120
    assert min(minutes) < 30 <= max(minutes)


def with_index_first(data: bytes, folder: Path) -> bytes:
    """Return an MP4 as it is for the web: its index comes before its frames."""
    path = folder / "first.mp4"
    with (
        av.open(io.BytesIO(data)) as container,
        av.open(str(path), "w", container_options={"movflags": "faststart"}) as output,
    ):
        copy = output.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    return path.read_bytes()


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi", "mpegts"])
def test_a_film_without_its_end_is_searched_as_far_as_it_goes(container: str, tmp_path: Path) -> None:
    """A film whose end is missing has the frames of what is there."""
    codec = "mpeg4" if container == "avi" else "libx264"
    data = film(scenes(4, 10, (320, 240)), container, codec)
    if container == "mp4":
        data = with_index_first(data, tmp_path)
    reader = opened(data[: len(data) * 6 // 10], frames=4)
    seconds = {place.page // 1000 for place in reader.places}
    assert {0} <= seconds <= {0, 1, 2}
    # The others don't tell how long they were.
    assert ("end missing" in reader.note) == (container == "mp4")
    for place in reader.places:
        assert reader.picture(place, BUDGET).pixels.std() > 10


def test_an_mp4_that_was_never_finished() -> None:
    """A recording that was cut off before its index was written can't be read, and the owner is told why."""
    data = film(scenes(2), "mp4")
    error = refusal(data[: data.index(b"moov") - 4])
    assert error.reason == "corrupt"
    assert "unfinished" in error.detail


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_sound_alone_is_no_film(container: str) -> None:
    """A file with sound and no video says so."""
    error = refusal(sound(container))
    assert (error.reason, error.detail) == ("not an image", "it has audio, but no video")


def test_the_cover_of_a_song_is_no_film() -> None:
    """A picture that is attached to sound is no video."""
    assert refusal(sound("matroska", encode(scene(1), ".jpg"))).reason == "not an image"


def test_a_film_of_one_moment() -> None:
    """A film of one frame, which lasts no time, is that frame."""
    data = film([scene(3, (96, 64))], "matroska")
    place = data.index(b"\x44\x89\x88") + 3
    reader = opened(data[:place] + bytes(8) + data[place + 8 :])
    assert [place.page for place in reader.places] == [0]
    assert reader.picture(reader.places[0], BUDGET).pixels.std() > 10


def test_a_film_without_keyframes() -> None:
    """A film that begins in the middle is decoded from where that is possible, and refused if it nowhere is."""
    data = film(scenes(3), "mpegts", keyframes=10)
    with av.open(io.BytesIO(data)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        stream = container.streams.video[0]
        file = io.BytesIO()
        with av.open(file, "w", format="mpegts") as output:
            copy = output.add_stream_from_template(stream)
            for packet in packets:
                if not packet.is_keyframe:
                    packet.stream = copy
                    output.mux(packet)
    error = refusal(file.getvalue())
    assert error.reason in ("corrupt", "not an image")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"plain text, but called film.mp4", "not an image"),
        (b"\0" * 4096, "not an image"),
    ],
    ids=["empty", "text", "zeros"],
)
def test_other_files_under_the_name_of_a_film(data: bytes, reason: str) -> None:
    """What is no film at all is refused as such."""
    assert refusal(data).reason == reason


def test_a_playlist_is_not_followed(tmp_path: Path) -> None:
    """A file that FFmpeg would take for a list of other files is no film, whatever it is called."""
    other = tmp_path / "other.mp4"
    other.write_bytes(film(scenes(1)))
    assert refusal(f"#EXTM3U\n#EXTINF:1,\n{other}\n".encode()).reason == "not an image"
    assert refusal(f"ffconcat version 1.0\nfile '{other}'\n".encode()).reason == "not an image"


def test_a_film_in_another_file_is_not_followed(tmp_path: Path) -> None:
    """A QuickTime film that refers to a second file for its data opens nothing."""
    data = bytearray(film(turnable(), "mov"))
    place = data.index(b"url \0\0\0\1")
    data[place + 7] = 0  # the data are no longer said to be in this file
    other = tmp_path / "other.mov"
    other.write_bytes(film(scenes(1)))
    with suppress(PictureError):
        reader = opened(bytes(data))
        assert off(quarters(reader.picture(reader.places[0], BUDGET))) < 8


def test_a_film_too_large_to_be_decoded() -> None:
    """The size in the header is checked before anything is decoded."""
    data = film(turnable(1), "matroska", "ffv1", "bgr0")
    with pytest.raises(PictureError) as caught:
        open_reader(io.BytesIO(data), "x.mkv", DocumentOptions(max_megapixels=0.005))
    assert caught.value.reason == "too many pixels"


def test_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film whose frames take too long to decode says so; where some are known by then, those count."""
    data = film(scenes(6), "mp4")
    monkeypatch.setattr(film_reader, "SECONDS", -1.0)
    assert refusal(data).reason == "takes too long"
    monkeypatch.undo()
    monkeypatch.setattr(film_reader, "_MOST_READ", 100)
    assert refusal(data).detail.endswith("of reading")
    monkeypatch.undo()
    decoded = []

    def slow(frame: av.VideoFrame) -> RGB:
        decoded.append(frame)
        if len(decoded) > 2:
            raise TooLong(1.0)
        return thumbnail(frame)

    monkeypatch.setattr(film_reader, "thumbnail", slow)
    reader = opened(data)
    assert len(reader.places) == 2
    assert "take long" in reader.note


def test_codecs_that_nobody_records_with_are_not_tried() -> None:
    """A decoder that is not on the list gets no data of anybody."""
    error = refusal(film(turnable(), "matroska", "snow"))
    assert error.reason == "unsupported"
    assert "snow" in error.detail


def mutated(data: bytes, seed: int) -> bytes:
    """Return a film with some of its bytes changed, or a piece cut out or put in twice."""
    rng = random.Random(seed)
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 10, 50))):
        at = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
            case 2:
                del changed[at : at + rng.randrange(1, 64)]
            case _:
                changed[at:at] = changed[at : at + rng.randrange(1, 64)]
    return bytes(changed)


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "libx264"),
        ("mov", "mjpeg"),
        ("webm", "libvpx-vp9"),
        ("avi", "mpeg4"),
        ("mpegts", "mpeg2video"),
    ],
)
def test_damaged_films_are_read_or_refused(container: str, codec: str) -> None:
    """Whatever is wrong with a film's bytes, it has pictures or a reason in words."""
    data = film(scenes(2, 4, (48, 32)), container, codec, "yuvj420p" if codec == "mjpeg" else "yuv420p")
    reasons = set()
    for seed in range(20):
        try:
            reader = opened(mutated(data, seed))
            assert all(reader.picture(place, BUDGET).pixels.ndim == 3 for place in reader.places)
        except PictureError as error:
            reasons.add(error.reason)
    assert reasons <= {"corrupt", "not an image", "unsupported", "too many pixels", "takes too long"}


WRITTEN = datetime(2024, 7, 14, 9, 30)
APPLE = {
    "com.apple.quicktime.creationdate": "2024-07-14T11:30:00+0200",
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.model": "iPhone 15",
    "com.apple.quicktime.software": "17.5",
    "com.apple.quicktime.location.ISO6709": "+48.8577-002.2950+036.1/",
}


def told(container: str, tags: dict[str, str], **muxer: str) -> Metadata:
    return opened(film(scenes(1, 2), container, tags=tags, muxer=muxer)).metadata()


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "3gp"])
def test_a_film_tells_when_it_was_taken(container: str) -> None:
    """The creation time of a container is in UTC: that is the clock which is shown, with its offset."""
    found = told(container, {"creation_time": "2024-07-14T09:30:00Z"})
    assert (found.taken, found.offset) == (WRITTEN, 0)


def test_apples_tags_tell_the_clock_of_the_place() -> None:
    """What an iPhone writes tells the clock, camera and place of where it was."""
    found = told("mov", {**APPLE, "creation_time": "2024-07-14T09:30:01Z"}, movflags="use_metadata_tags")
    assert (found.taken, found.offset) == (datetime(2024, 7, 14, 11, 30), 120)
    assert (found.make, found.model, found.software) == ("Apple", "iPhone 15", "17.5")
    assert (found.latitude, found.longitude) == (48.8577, -2.295)


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("+48.8577+002.2950/", (48.8577, 2.295)),
        ("-33.8568+151.2153+004.0CRSWGS_84/", (-33.8568, 151.2153)),
        ("+4851.5-00217.25/", (48.8583333, -2.2875)),
        ("+485130+0021715/", (48.8583333, 2.2875)),
        ("+00.0000+000.0000/", (None, None)),
        ("+95.0000+002.0000/", (None, None)),
        ("48.8577, 2.2950", (None, None)),
        ("+1/2+3/4", (None, None)),
    ],
)
def test_places_of_films(text: str, point: tuple[float | None, float | None]) -> None:
    """ISO 6709 in degrees, in minutes and in seconds; what is no place on the globe is none."""
    found = from_tags({"location": text})
    assert (found.latitude, found.longitude) == pytest.approx(point)


@pytest.mark.parametrize(
    ("tags", "taken", "offset"),
    [
        ({"creation_time": "1904-01-01T00:00:00.000000Z"}, None, None),
        ({"creation_time": "1970-01-01T00:00:00.000000Z"}, None, None),
        ({"creation_time": "never"}, None, None),
        ({"creation_time": "2024-07-14 09:30:00"}, WRITTEN, None),
        (
            {"creation_time": "1904-01-01T00:00:00Z", "date": "2024-07-14"},
            WRITTEN.replace(hour=12, minute=0),
            None,
        ),
    ],
    ids=["QuickTime's first day", "Unix's first day", "nonsense", "no zone", "another tag"],
)
def test_dates_that_recorders_write(tags: dict[str, str], taken: datetime | None, offset: int | None) -> None:
    """The first day of a container's clock is no date; one without a zone is of the camera's clock."""
    found = from_tags(tags)
    assert (found.taken, found.offset) == (taken, offset)


def test_a_film_is_read_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Whoever opens a film as a document gets its moments, its metadata and its frames."""
    path = tmp_path / "film.mov"
    path.write_bytes(film(scenes(3), "mov", tags={"creation_time": "2024-07-14T09:30:00Z"}))
    with path.open("rb") as file, open_document(file, path.name) as document:
        assert [place.time for place in document.places] == [0, 1, 2]
        assert document.metadata.taken == WRITTEN
        picture = document.picture(document.places[1], BUDGET)
        wanted = np.asarray(scene(1, (96, 64))).astype(int)
        assert np.abs(picture.pixels - wanted).mean() < 12
        assert document.picture(Place(2500, 2.5), BUDGET).page == 2500


@pytest.mark.parametrize(("extension", "container", "codec", "pixels"), WRITERS)
def test_films_are_told_by_their_first_bytes(extension: str, container: str, codec: str, pixels: str) -> None:
    """A film is one under its own name, and under a wrong one where its first bytes tell."""
    head = film(scenes(1, 20, (128, 96)), container, codec, pixels)[:64]
    row = document_format(head, f"x.{extension}")
    assert row is not None
    assert row.extra == "video"
    assert extension in row.extensions.split()
    assert (document_format(head, "x.jpg") is not None) == (extension != "mts")


@pytest.mark.parametrize("extension", [".heic", ".avif", ".webp", ".jpg"])
def test_images_are_no_films(extension: str) -> None:
    """HEIC and AVIF begin as MP4 does, WebP as AVI, and are images, whatever they are called."""
    head = encode(scene(1), extension)[:64]
    assert document_format(head, "x.mp4") is None


def test_a_film_leaves_the_priority_of_the_tests_as_it_was() -> None:
    """SVT-AV1 makes its caller a real-time thread, before which nothing else gets to run, if root calls it."""
    before = os.sched_getscheduler(0)
    film(scenes(1, 2), "mp4", "libsvtav1", "yuv420p10le")
    assert os.sched_getscheduler(0) == before
