"""Images near a place are those whose distance on the globe is no larger, at the poles and the date line, too."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imgsearch.errors import UsageError
from imgsearch.index.metadata.filters import Near
from imgsearch.index.metadata.globe import EARTH_RADIUS_KM, km_between
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.types import Metadata, SourceFile
from support.fakes import sha, spec, unit

LATITUDES = st.one_of(st.sampled_from([-90.0, -89.99, 0.0, 48.85, 89.99, 90.0]), st.floats(-90, 90))
LONGITUDES = st.one_of(st.sampled_from([-180.0, -179.99, 0.0, 2.35, 179.99, 180.0]), st.floats(-180, 180))
PLACES = st.tuples(LATITUDES, LONGITUDES)
DISTANCES = st.one_of(st.sampled_from([1e-3, 1.0, 25.0, 500.0, 9000.0, 30_000.0]), st.floats(1e-3, 25_000))


def by_vectors(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the kilometres between two places by the angle between their vectors from the centre of the globe."""

    def vector(place: tuple[float, float]) -> tuple[float, float, float]:
        latitude, longitude = map(math.radians, place)
        flat = math.cos(latitude)
        return flat * math.cos(longitude), flat * math.sin(longitude), math.sin(latitude)

    return EARTH_RADIUS_KM * 2 * math.asin(min(1.0, math.dist(vector(one), vector(other)) / 2))


@given(PLACES, PLACES)
def test_a_distance_is_the_angle_between_two_places(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    """The kilometres between two places are those that their vectors from the centre of the globe give."""
    assert km_between(*one, *other) == pytest.approx(by_vectors(one, other), rel=1e-6, abs=1e-3)


def test_paris_is_as_far_from_london_as_maps_say() -> None:
    """From Paris to London it is 344 km."""
    assert km_between(48.8566, 2.3522, 51.5074, -0.1278) == pytest.approx(344, abs=1)


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), PLACES), min_size=1, max_size=12), PLACES, DISTANCES)
@example([(0.0, -179.9), (0.0, 179.9), (0.0, 0.0), None], (0.0, 180.0), 25.0)
@example([(89.9, -90.0), (89.9, 90.0), (80.0, 0.0)], (90.0, 0.0), 25.0)
@example([(-89.9, 10.0), (0.0, 0.0)], (-89.8, -170.0), 40.0)
def test_what_is_near_is_what_is_no_further(
    tmp_path_factory: pytest.TempPathFactory,
    places: list[tuple[float, float] | None],
    centre: tuple[float, float],
    km: float,
) -> None:
    """The images near a place are those that measuring every one of them gives; one without a place is not."""
    folder = str(tmp_path_factory.mktemp("near"))
    with IndexWriter(folder, spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        states = [
            FileState(
                root,
                SourceFile("/pictures", f"{number}.jpg", 1, 1),
                sha(number),
                metadata=Metadata(latitude=place and place[0], longitude=place and place[1]),
            )
            for number, place in enumerate(places)
        ]
        writer.commit([(sha(number), 0, 9, 9) for number in range(len(places))], unit(len(places), 1), states)
    with ImageIndex(folder) as index:
        found = {record.sha256 for record, _ in index.search(unit(1, 2), 99, filters=[Near(*centre, km)])[0]}
    expected = {
        sha(number) for number, place in enumerate(places) if place and km_between(*place, *centre) <= km
    }
    assert found == expected


@pytest.mark.parametrize(
    "values",
    [
        (91, 0, 1),
        (0, 181, 1),
        (math.nan, 0, 1),
        (0, math.nan, 1),
        (0, 0, 0),
        (0, 0, -1),
        (0, 0, math.nan),
        (0, 0, math.inf),
    ],
)
def test_what_is_not_on_the_globe_is_refused(values: tuple[float, float, float]) -> None:
    """A latitude beyond the poles, a distance of 0 and what is not a number are errors."""
    with pytest.raises(UsageError):
        Near(*values)


def test_a_place_is_said_and_sent() -> None:
    """A filter by place says its name or its degrees in a sentence, and gives the degrees to a server."""
    assert Near(48.85, 2.35, 25, "Paris, France").sentence() == "taken within 25 km of Paris, France"
    assert Near(48.85, 2.35, 25).sentence() == "taken within 25 km of 48.85,2.35"
    assert Near(48.85, 2.35, 2.5).as_json() == {"near": "48.85,2.35", "within_km": 2.5}
