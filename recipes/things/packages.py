"""Fetches the packages that drawings, names and photographs come from: each pinned, and checked by its SHA-256."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass

from imgsearch.errors import DatasetError, StorageError


@dataclass(frozen=True, slots=True)
class Package:
    """A package of one version: what fetches it, its checksum, and what its licence asks to be said.

    ``client`` is "npm" or "apt". ``use`` is what of it goes where: "train" into the training pictures, "evaluate"
    only into pictures that measure.
    """

    name: str
    version: str
    client: str
    sha256: str
    licence: str
    author: str
    use: str

    @property
    def folder(self) -> str:
        """The name of its folder in the cache."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version.replace(':', '.')}"


def _emoji(name: str, version: str, sha256: str, licence: str, author: str, use: str = "train") -> Package:
    return Package(f"@iconify-json/{name}", version, "npm", sha256, licence, author, use)


STYLES: dict[str, Package] = {
    "noto": _emoji(
        *("noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
        *("Apache-2.0", "Noto Emoji, Google"),
    ),
    "noto-v1": _emoji(
        *("noto-v1", "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
        *("Apache-2.0", "Noto Emoji (the blobs), Google"),
    ),
    "emojione": _emoji(
        *("emojione", "1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
        *("CC-BY-4.0", "Emoji One 2"),
    ),
    "fluent": _emoji(
        *("fluent-emoji", "1.2.7", "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b"),
        *("MIT", "Fluent Emoji, Microsoft"),
    ),
    "fluent-flat": _emoji(
        *("fluent-emoji-flat", "1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"),
        *("MIT", "Fluent Emoji, Microsoft"),
    ),
    "fxemoji": _emoji(
        *("fxemoji", "1.2.2", "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef"),
        *("Apache-2.0", "Firefox OS Emoji, Mozilla"),
    ),
    "streamline": _emoji(
        *("streamline-emojis", "1.2.4", "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc"),
        *("CC-BY-4.0", "Streamline Emojis, Streamline"),
    ),
    "outlines": _emoji(
        *("emojione-monotone", "1.2.1", "40b90004bafb406b59266155ef9b7e1dd67bf2947fc8db8d07388776f4d0d04e"),
        *("CC-BY-4.0", "Emoji One 2"),
    ),
    "contrast": _emoji(
        *("fluent-emoji-high-contrast", "1.2.6"),
        "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
        *("MIT", "Fluent Emoji, Microsoft"),
    ),
    "twemoji": _emoji(
        *("twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
        *("CC-BY-4.0", "Twemoji, Twitter and contributors", "evaluate"),
    ),
    "openmoji": _emoji(
        *("openmoji", "1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5"),
        *("CC-BY-SA-4.0", "OpenMoji"),
    ),
}
"""The drawing styles. Twemoji is held out whole."""
ICONS = (
    _emoji(
        *("game-icons", "1.2.4", "f5758efb34d91c4f50b941f355f16ee73938625e5996fabc25171288404460a4"),
        *("CC-BY-3.0", "Game Icons"),
    ),
    _emoji(
        *("hugeicons", "1.2.35", "cca09de913319938961fa0613a8eb42952f76c3ee13a7c68ef411091590c5d8b"),
        *("MIT", "Hugeicons"),
    ),
    _emoji(
        *("mdi", "1.2.3", "ddd817a7213f91de51147943915c0cda8c8b818a53c92b5c068cfa9883c6d7ac"),
        *("Apache-2.0", "Material Design Icons, Pictogrammers"),
    ),
    _emoji(
        *("ph", "1.2.2", "e3a582a047d9829fc7e8842c660d8065e598d1b68bb58cb68e75a1f1e5a614cc"),
        *("MIT", "Phosphor Icons"),
    ),
    _emoji(
        *("tabler", "1.2.41", "3bf99af156d28d05568aff524a35ed1ba238df640a7835a5e02e1f8e439685f6"),
        *("MIT", "Tabler Icons, Paweł Kuna"),
    ),
    _emoji(
        *("fa6-solid", "1.2.4", "082c792eaad4751626438773fa7360cb23f495b687cf2dd01b2b0fccc7f6af8b"),
        *("CC-BY-4.0", "Font Awesome 6, Fonticons"),
    ),
)
"""Sets of signs in one colour, of which each draws some of the things: together they are one style."""
CLIPART = Package(
    *("openclipart-svg", "1:0.18+dfsg-19", "apt"),
    "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
    *("public domain", "Open Clip Art Library", "train"),
)
CLIPART_STYLE, ICONS_STYLE = "clipart", "icons"
ONE_COLOUR = ("outlines", "contrast", ICONS_STYLE)  # drawn in the colour that a scene gives them
HELD_OUT_STYLE = "twemoji"
TRAINING_STYLES = (
    *(style for style, package in STYLES.items() if package.use == "train"),
    *(CLIPART_STYLE, ICONS_STYLE),
)
STAMPS = Package(
    *("tuxpaint-stamps-default", "2022.06.04-1", "apt"),
    "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    *("GPL-2.0", "Bill Kendrick and contributors to Tux Paint", "evaluate"),
)
NAMES = Package(
    *("cldr-annotations-full", "48.2.0", "npm"),
    "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
    *("Unicode-3.0", "Unicode CLDR", "train"),
)
PHOTOS = Package(
    *("lomiri-wallpapers-16.04", "20.04.0-2", "apt"),
    "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
    *("CC-BY-4.0 and CC0-1.0 (only these of its photographs)",),
    "Aitzol Berasategi, Trevor Freespace, Clemens Engelhardt, Abhishek Mudgal, Jakub Mede",
    "train",
)
PHOTO_FILES = (
    *(
        "aitzgorri_by_Aitzol_Berasategi.jpg",
        "friends_by_Aitzol_Berasategi.jpg",
        "life_by_Aitzol_Berasategi.jpg",
    ),
    *(
        "picosdeeuropa_by_Aitzol_Berasategi.jpg",
        "sunset_by_Aitzol_Berasategi.jpg",
        "Picture_0B_by_freespace.jpg",
    ),
    *("Picture_1A_by_freespace.jpg", "umang_by_Abhishek_Mudgal.jpg", "Wine_by_Jakkub_Mede.jpg"),
    "seeding_by_Clements_Engelhardt.jpg",
)
ALL = (*STYLES.values(), *ICONS, CLIPART, STAMPS, NAMES, PHOTOS)


def fetch(package: Package, cache: str) -> str:
    """Return the folder in ``cache`` with the package's content, fetched by npm or apt if it is not there.

    Raises DatasetError if its client is missing or refuses, or if the checksum is another; StorageError if the
    cache can't be written.
    """
    folder = os.path.join(cache, package.folder)
    if os.path.isdir(folder):
        return folder
    try:
        os.makedirs(cache, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as aside:
            archive = _download(package, aside)
            check(package, archive)
            content = os.path.join(aside, "content")
            _unpack(package, archive, content)
            os.rename(content, folder)
    except OSError as error:
        raise StorageError(f"{folder} could not be written: {error.strerror or error}") from error
    return folder


def check(package: Package, archive: str) -> None:
    """Raise DatasetError if the file ``archive`` is not the package that is pinned."""
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise DatasetError(
            f"{package.name} {package.version} is not the package that is pinned: its SHA-256 is {found}, "
            f"not {package.sha256}"
        )


def _download(package: Package, folder: str) -> str:
    """Let the package's own client fetch it into the empty ``folder``; return the archive's path."""
    if package.client == "npm":
        command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    else:
        command = ["apt-get", "download", "--quiet", f"{package.name}={package.version}"]
    if shutil.which(command[0]) is None:
        raise DatasetError(
            f"{package.name} {package.version} can't be fetched: there is no {command[0]} here"
        )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = [name for name in os.listdir(folder) if name.endswith((".tgz", ".deb"))]
    if done.returncode or len(found) != 1:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise DatasetError(f"{package.name} {package.version} can't be fetched by {command[0]}: {last}")
    return os.path.join(folder, found[0])


def _unpack(package: Package, archive: str, folder: str) -> None:
    os.makedirs(folder)
    if package.client == "npm":
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    elif shutil.which("dpkg-deb") is None:
        raise DatasetError(f"{package.name} {package.version} can't be unpacked: there is no dpkg-deb here")
    else:
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
