"""What becomes of real files of each kind: indexed, found by what they show, opened at the place; a table.

    PYTHONPATH=tests python benchmarks/formats_table.py [--debian FOLDER] [--each 3] [--scratch DIR] [--all]

For each kind of file that README names, files are drawn by several writers: Pillow, pillow-heif, tifffile, PyAV, the
writers of the tests, and ImageMagick, Ghostscript and libjxl's cjxl where they are on the PATH. Each shows a scene of
its own, of several pages or moments each its own. FOLDER has a folder of unpacked files for each Debian package, by its
name (``apt-get download gnome-backgrounds; dpkg-deb -x gnome-backgrounds_*.deb FOLDER/gnome-backgrounds``), of which at
most so many files of each kind are taken.

One run of `imgsearch index --model demo` reads them all. A place is *found* if `imgsearch similar` with the scene, as a
PNG that is not indexed, has it first: the file, and the page or a moment of the right stretch. Of a Debian file, whose
scene nobody knows, the PNG is what imgsearch makes of it. It is *opened at the place* if `imgsearch open FILE#PLACE`
starts the viewer with the file and, where the kind has pages or moments and the viewer can, the page or time: the
viewers are stand-ins that write down how they are called. Prints the table, and with --all each place not found.
"""

from __future__ import annotations

import argparse
import collections
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pillow_heif
import tifffile
from PIL import Image, ImageCms

from imgsearch.errors import PictureError
from imgsearch.media.pictures import load_picture
from imgsearch.tools import desktop
from imgsearch.types import PixelBudget
from support.cli import Done, imgsearch
from support.pictures import scene
from support.raws import dng

SIZE = (480, 360)
VIEWERS = {
    "application/pdf": "org.gnome.Evince.desktop",
    "image/tiff": "org.gnome.Evince.desktop",
    "application/vnd.comicbook": "org.gnome.Evince.desktop",
    "video": "mpv.desktop",
}


class Place(NamedTuple):
    """A place of a file: what stands behind its path, and the scene there; None where nobody knows it."""

    written: str
    scene: Image.Image | None


class File(NamedTuple):
    """A file of a kind, who wrote it, and the places that can be found in it."""

    kind: str
    writer: str
    path: Path
    places: list[Place]


_drawn = 0


def scenes(count: int = 1, size: tuple[int, int] = SIZE) -> list[Image.Image]:
    """Return scenes that no other file has."""
    global _drawn
    _drawn += count
    return [scene(1000 + number, size) for number in range(_drawn - count, _drawn)]


def pillows(kind: str, extension: str, mode: str = "RGB", **options: object) -> Callable[[Path], File]:
    """Return what draws a file by Pillow."""

    def draw(folder: Path) -> File:
        [image] = scenes()
        path = folder / f"pillow-{mode}-{'-'.join(map(str, options))}{extension}".lower().replace("-.", ".")
        image.convert(mode).save(path, **options)
        return File(kind, "Pillow", path, [Place("", image)])

    return draw


def convert(kind: str, extension: str, *options: str) -> Callable[[Path], File | None]:
    """Return what draws a file by ImageMagick; None where it can't write that kind."""

    def draw(folder: Path) -> File | None:
        if not (program := shutil.which("magick") or shutil.which("convert")):
            return None
        [image] = scenes()
        image.save(folder.parent / "in.png")
        path = folder / f"imagemagick{''.join(options)}{extension}".replace("%", "")
        done = subprocess.run(
            [program, str(folder.parent / "in.png"), *options, str(path)], capture_output=True
        )
        if done.returncode == 0 and path.exists() and path.stat().st_size > 0:
            return File(kind, "ImageMagick", path, [Place("", image)])
        path.unlink(missing_ok=True)
        return None

    return draw


def by_program(kind: str, extension: str, program: str, *options: str) -> Callable[[Path], File | None]:
    """Return what draws a file by a program that takes a PNG and the file to write."""

    def draw(folder: Path) -> File | None:
        if not shutil.which(program):
            return None
        [image] = scenes()
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        image.save(folder.parent / "in.png", icc_profile=profile)
        path = folder / f"{program}{''.join(options)}{extension}"
        done = subprocess.run(
            [program, str(folder.parent / "in.png"), str(path), *options], capture_output=True
        )
        return File(kind, program, path, [Place("", image)]) if done.returncode == 0 else None

    return draw


def pages(images: list[Image.Image]) -> list[Place]:
    """Return the places of images that are pages, the first of an image file without a number."""
    return [Place(f"#page={number}" if number > 1 else "", image) for number, image in enumerate(images, 1)]


def numbered(images: list[Image.Image]) -> list[Place]:
    """Return the places of images that are pages of a document."""
    return [Place(f"#page={number}", image) for number, image in enumerate(images, 1)]


def tiff_pages(folder: Path) -> File:
    """Draw a TIFF of three pages by Pillow."""
    images = scenes(3)
    path = folder / "pillow-pages.tif"
    images[0].save(path, save_all=True, append_images=images[1:], compression="tiff_lzw")
    return File("TIFF", "Pillow, 3 pages", path, pages(images))


def tifffile_pages(folder: Path) -> File:
    """Draw a BigTIFF of three pages, in tiles, by tifffile."""
    images = scenes(3)
    path = folder / "tifffile-pages.tiff"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for image in images:
            file.write(np.asarray(image), photometric="rgb", tile=(64, 64), compression="zlib")
    return File("TIFF", "tifffile, 3 pages", path, pages(images))


def animation(kind: str, extension: str, empty: bool) -> Callable[[Path], File]:
    """Return what draws an animation, of which the first frame may be black."""

    def draw(folder: Path) -> File:
        [image, other] = scenes(2)
        black = Image.new("RGB", SIZE)
        frames = [black, Image.blend(black, image, 0.2), image] if empty else [image, other]
        path = folder / f"pillow-{'faded-in' if empty else 'animated'}{extension}"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=80)
        return File(kind, f"Pillow, {'fade-in' if empty else 'animation'}", path, [Place("", image)])

    return draw


def heif(folder: Path) -> File:
    """Draw a HEIC by pillow-heif."""
    [image] = scenes()
    path = folder / "pillow-heif.heic"
    pillow_heif.from_pillow(image).save(path, quality=80)
    return File("HEIC", "pillow-heif", path, [Place("", image)])


def raw(preview: bool) -> Callable[[Path], File]:
    """Return what draws a DNG, with or without a preview."""

    def draw(folder: Path) -> File:
        [image] = scenes()
        pixels = np.asarray(image)
        path = folder / f"dng-{'preview' if preview else 'sensor'}.dng"
        path.write_bytes(dng(pixels, preview=pixels if preview else None))
        return File(
            "RAW", f"the tests' DNG, {'preview' if preview else 'sensor only'}", path, [Place("", image)]
        )

    return draw


def pdf(folder: Path) -> File:
    """Draw a PDF of three pages by Pillow."""
    images = scenes(3)
    path = folder / "pillow.pdf"
    images[0].save(path, save_all=True, append_images=images[1:], resolution=72)
    return File("PDF", "Pillow, 3 pages", path, numbered(images))


def encrypted(folder: Path) -> File:
    """Draw a PDF that is encrypted without a password, by pypdf."""
    import pypdf

    images = scenes(2)
    data = io.BytesIO()
    images[0].save(data, "PDF", save_all=True, append_images=images[1:], resolution=72)
    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(data))
    writer.encrypt("", "owner")
    path = folder / "pypdf-encrypted.pdf"
    writer.write(path)
    return File("PDF", "pypdf, encrypted, 2 pages", path, numbered(images))


def zipped(kind: str, extension: str, within: str) -> Callable[[Path], File]:
    """Return what draws an archive of two images."""

    def draw(folder: Path) -> File:
        images = scenes(2)
        path = folder / f"zipfile{extension}"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("mimetype", "of no account")
            for number, image in enumerate(images, 1):
                data = io.BytesIO()
                image.save(data, "JPEG", quality=92)
                file.writestr(f"{within}image{number}.jpg", data.getvalue())
        return File(kind, "zipfile, 2 images", path, numbered(images))

    return draw


def film(extension: str, codec: str, pixels: str = "yuv420p") -> Callable[[Path], File | None]:
    """Return what draws a film of three scenes of two seconds each by PyAV; None where it lacks the encoder."""

    def draw(folder: Path) -> File | None:
        import av

        images = scenes(3, (320, 240))
        path = folder / f"pyav-{codec}{extension}"
        try:
            with av.open(str(path), "w") as container:
                stream = container.add_stream(codec, rate=10)
                stream.width, stream.height, stream.pix_fmt = 320, 240, pixels
                stream.codec_context.gop_size = 10
                for number in range(60):
                    frame = av.VideoFrame.from_image(images[number // 20])
                    frame.pts = number
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
        except (av.FFmpegError, ValueError):
            path.unlink(missing_ok=True)
            return None
        places = [Place(f"#t={2 * number}", image) for number, image in enumerate(images)]
        return File("Video", f"PyAV, {extension[1:]} {codec}", path, places)

    return draw


def svg(folder: Path) -> File:
    """Write a drawing of circles and text by hand."""
    chance = np.random.default_rng(3)
    shapes = [
        (int(x), int(y), int(r), f"rgb({a},{b},{c})") for x, y, r, a, b, c in chance.integers(20, 255, (9, 6))
    ]
    image = Image.new("RGB", (300, 300), "white")
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    for x, y, r, fill in shapes:
        draw.ellipse((x - r // 4, y - r // 4, x + r // 4, y + r // 4), fill)
    inside = "".join(f'<circle cx="{x}" cy="{y}" r="{r // 4}" fill="{fill}"/>' for x, y, r, fill in shapes)
    path = folder / "by-hand.svg"
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="300">{inside}</svg>')
    return File("SVG", "by hand", path, [Place("", image)])


def svgz(folder: Path) -> File:
    """Write a packed drawing that holds an image."""
    import base64
    import gzip

    [image] = scenes()
    data = io.BytesIO()
    image.save(data, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    inside = f'<image width="480" height="360" href="{address}"/>'
    path = folder / "by-hand.svgz"
    path.write_bytes(
        gzip.compress(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 360">{inside}</svg>'.encode()
        )
    )
    return File("SVG", "by hand, svgz", path, [Place("", image)])


def jxl(folder: Path) -> File:
    """Draw a JPEG XL by pillow-jxl-plugin."""
    import pillow_jxl  # noqa: F401

    [image] = scenes()
    path = folder / "pillow-jxl.jxl"
    image.save(path, quality=85)
    return File("JPEG XL", "pillow-jxl-plugin", path, [Place("", image)])


DRAWN: tuple[Callable[[Path], File | None], ...] = (
    pillows("JPEG", ".jpg", quality=85),
    pillows("JPEG", ".jpg", "CMYK", progressive=True),
    convert("JPEG", ".jpg", "-quality", "70"),
    pillows("PNG", ".png"),
    pillows("PNG", ".png", "P"),
    convert("PNG", ".png", "-depth", "16"),
    animation("PNG", ".png", empty=True),
    pillows("WebP", ".webp"),
    pillows("WebP", ".webp", lossless=True),
    convert("WebP", ".webp"),
    animation("WebP", ".webp", empty=False),
    animation("WebP", ".webp", empty=True),
    pillows("TIFF", ".tif", compression="jpeg"),
    convert("TIFF", ".tif", "-compress", "lzw"),
    tiff_pages,
    tifffile_pages,
    pillows("BMP", ".bmp"),
    convert("BMP", ".bmp"),
    pillows("GIF", ".gif", "P"),
    convert("GIF", ".gif"),
    animation("GIF", ".gif", empty=False),
    animation("GIF", ".gif", empty=True),
    pillows("JPEG 2000", ".jp2"),
    convert("JPEG 2000", ".jp2"),
    pillows("PNM", ".ppm"),
    convert("PNM", ".pnm"),
    pillows("AVIF", ".avif"),
    convert("AVIF", ".avif"),
    animation("AVIF", ".avif", empty=True),
    heif,
    convert("HEIC", ".heic"),
    pillows("TGA", ".tga"),
    convert("TGA", ".tga"),
    convert("PSD", ".psd"),
    convert("PSD", ".psd", "-depth", "16"),
    jxl,
    by_program("JPEG XL", ".jxl", "cjxl", "-d", "1"),
    by_program("JPEG XL", ".jxl", "cjxl", "-d", "0"),
    convert("JPEG XL", ".jxl"),
    svg,
    svgz,
    convert("SVG", ".svg"),
    raw(preview=True),
    raw(preview=False),
    pdf,
    encrypted,
    convert("PDF", ".pdf"),
    zipped("CBZ, ZIP", ".cbz", ""),
    zipped("CBZ, ZIP", ".zip", "holidays/"),
    zipped("EPUB, office", ".epub", "OEBPS/images/"),
    zipped("EPUB, office", ".docx", "word/media/"),
    zipped("EPUB, office", ".pptx", "ppt/media/"),
    zipped("EPUB, office", ".odt", "Pictures/"),
    film(".mp4", "libx264"),
    film(".mov", "mpeg4"),
    film(".mkv", "libx265"),
    film(".webm", "libvpx-vp9"),
    film(".avi", "mjpeg", "yuvj420p"),
    film(".3gp", "h263"),
    film(".mts", "libx264"),
)

EXTENSIONS = {
    "JPEG": "jpg jpeg",
    "PNG": "png",
    "WebP": "webp",
    "TIFF": "tif tiff",
    "BMP": "bmp",
    "GIF": "gif",
    "JPEG 2000": "jp2",
    "PNM": "ppm pgm pbm pnm",
    "AVIF": "avif",
    "HEIC": "heic heif",
    "TGA": "tga",
    "PSD": "psd",
    "JPEG XL": "jxl",
    "SVG": "svg svgz",
    "PDF": "pdf",
    "CBZ, ZIP": "cbz",
    "EPUB, office": "epub docx pptx odt",
    "Video": "mp4 mov mkv webm avi ogv",
}


def debian(folder: Path, each: int, into: Path) -> Iterator[File]:
    """Copy some files of each kind of each package, those in the middle of the list, and yield them."""
    kinds = {extension: kind for kind, names in EXTENSIONS.items() for extension in names.split()}
    for package in sorted(path for path in folder.iterdir() if path.is_dir()):
        found: dict[str, list[Path]] = collections.defaultdict(list)
        for path in sorted(package.rglob("*")):
            kind = kinds.get(path.suffix[1:].lower())
            if kind and path.is_file() and not path.is_symlink():
                found[kind].append(path)
        for kind, paths in found.items():
            for path in paths[:: max(1, len(paths) // each)][:each]:
                copy = into / package.name / path.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
                yield File(kind, package.name, copy, [Place("", None)])


def stand_ins(folder: Path, log: Path) -> None:
    """Write viewers, and the programs that name them, which note how they are called."""
    folder.mkdir()
    types = "".join(f"  {kind}*) echo {viewer};;\n" for kind, viewer in VIEWERS.items())
    scripts = {
        "xdg-mime": f'#!/bin/sh\ncase "$3" in\n{types}  *) echo eog.desktop;;\nesac\n',
        **{
            name: f'#!/bin/sh\nprintf "%s\\n" {name} "$@" > {log}\n' for name in ("xdg-open", "evince", "mpv")
        },
    }
    for name, text in scripts.items():
        path = folder / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Program:
    """The command line in this process, so that torch is loaded once, with a home and viewers of its own."""

    def __init__(self, work: Path) -> None:
        """Make them in a folder."""
        self.log, self._index = work / "viewer", str(work / "index")
        stand_ins(work / "bin", self.log)
        os.environ |= {
            "PATH": f"{work / 'bin'}:{os.environ['PATH']}",
            "HOME": str(work / "home"),
        }
        desktop._PATIENCE_SECONDS = 1.0

    def __call__(self, *argv: object) -> Done:
        """Run a command on the index."""
        return imgsearch(*argv, "--index", self._index)


def is_found(run: Program, file: File, place: Place, example: Path) -> str:
    """Return "" if the place comes first for its scene, else what does."""
    image = place.scene
    if image is None:
        try:
            with file.path.open("rb") as stream:
                picture = load_picture(stream, file.path.name, PixelBudget(4096, 230_400))
        except PictureError as error:
            return str(error)
        if picture is None:
            return "no image"
        image = Image.fromarray(picture.pixels)
    image.save(example)
    done = run("similar", str(example), "-n", "1", "--json")
    if not done.objects:
        return done.err.strip() or "nothing"
    hit = done.objects[0]
    if str(file.path) not in (hit["path"], *hit.get("copies", [])):
        return f"{hit['path']} at {hit['score']}"
    if place.written.startswith("#t="):
        start = float(place.written[3:])
        return "" if start <= hit["time"] < start + 2 else f"{hit['time']} s"
    page = int(place.written.removeprefix("#page=") or 1)
    return "" if place.scene is None or hit["page"] == page - 1 else f"page {hit['page'] + 1}"


def is_opened(run: Program, file: File, place: Place) -> str:
    """Return "at the place", "the file" or "no", by what the viewer was called with."""
    run.log.unlink(missing_ok=True)
    imgsearch("open", f"{file.path}{place.written}")  # it needs no index
    called = run.log.read_text().splitlines() if run.log.exists() else []
    if not called or not any(argument.endswith(str(file.path)) for argument in called):
        return "no"
    name, number = place.written[1:].partition("=")[::2]
    if not name or (name == "page" and number == "1") or (name == "t" and float(number) == 0):
        return "at the place"
    wanted = f"--page-index={number}" if name == "page" else f"--start={float(number):.3f}"
    return "at the place" if wanted in called else "the file"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--debian", type=Path)
    parser.add_argument("--each", type=int, default=3)
    parser.add_argument("--scratch")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        work = Path(os.path.realpath(scratch))
        (work / "home").mkdir()
        files: list[File] = []
        for draw in DRAWN:
            folder = work / "files" / "drawn"
            folder.mkdir(parents=True, exist_ok=True)
            if (file := draw(folder)) is not None:
                files.append(file)
        if options.debian:
            files += debian(options.debian, options.each, work / "files" / "debian")
        run = Program(work)
        done = run("index", str(work / "files"), "--model", "demo", "--quiet")
        if done.code:
            sys.exit(done.err)
        reasons = run("status", "--errors", "--json").lines
        rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        writers: dict[str, list[str]] = collections.defaultdict(list)
        for file in files:
            row = rows[file.kind]
            if file.writer not in writers[file.kind]:
                writers[file.kind].append(file.writer)
            listed = run("show", str(file.path), "--json")
            told = listed.objects[0] if not listed.code else {}
            row["files"] += 1
            is_indexed = bool(told.get("sha256") or told.get("indexed"))
            row["indexed"] += is_indexed
            if not is_indexed:
                print(
                    f"not indexed: {file.path.name} ({file.writer}): {listed.err.strip()[-200:]}",
                    flush=True,
                )
                continue
            for place in file.places:
                row["places"] += 1
                why = is_found(run, file, place, work / "example.png")
                row["found"] += not why
                if why and options.all:
                    print(f"not found: {file.path.name}{place.written} ({file.writer}): {why}", flush=True)
                row[is_opened(run, file, place)] += 1
        if options.all:
            print(*reasons, sep="\n")
    names = ("files", "indexed", "places", "found", "at the place", "the file", "no")
    print(f"{'kind':14}" + "".join(f"{name:>14}" for name in names) + "  writers")
    total: collections.Counter[str] = collections.Counter()
    for kind, row in rows.items():
        total += row
        print(f"{kind:14}" + "".join(f"{row[name]:14,}" for name in names) + f"  {', '.join(writers[kind])}")
    print(f"{'all':14}" + "".join(f"{total[name]:14,}" for name in names))


if __name__ == "__main__":
    main()
