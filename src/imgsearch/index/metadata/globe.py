"""Distances on the globe."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

EARTH_RADIUS_KM = 6371.0088
"""Of the sphere with the earth's mean radius; real distances differ from the sphere's by 0.5 % at most."""


def km_between(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Return the kilometres between two places in degrees, along the surface: the haversine formula.

    It stays exact for places close together (Sinnott, "Virtues of the Haversine", Sky and Telescope 68, 1984).
    """
    south, north = math.radians(latitude), math.radians(other_latitude)
    height = math.sin((north - south) / 2) ** 2
    width = math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    square = height + math.cos(south) * math.cos(north) * width
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(square)))


def km_from(
    latitude: float, longitude: float, latitudes: NDArray[np.float64], longitudes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the kilometres from one place to many, as ``km_between`` does; NaN where a place is."""
    south, north = math.radians(latitude), np.radians(latitudes)
    height = np.sin((north - south) / 2) ** 2
    width = np.sin(np.radians(longitudes - longitude) / 2) ** 2
    square = height + math.cos(south) * np.cos(north) * width
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, np.sqrt(square))))


def distance(*places: float | None) -> float | None:
    """Return ``km_between`` of two places; None, as SQL has it, if one of their degrees is."""
    known = [number for number in places if number is not None]
    return km_between(*known) if len(known) == 4 else None
