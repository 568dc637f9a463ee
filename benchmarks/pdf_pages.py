"""What a page of PDF costs: drawn in its process, and in a whole run.

Theory: drawing a page takes some ten milliseconds of a processor, the model some hundred times that, so a run is no
slower than one over as many images; memory does not grow with the pages, for a page is drawn when its turn comes.

    python benchmarks/pdf_pages.py [--pages 1000] [--budget 360000] [--threads 1 2 4] [--run demo]

Draws a PDF: of three pages one is full of text, one a chart, and one a scan of 150 dots an inch. Reads it by
``open_document``, a stretch of pages in each thread, and prints for each number of threads pages a second, the
processor's milliseconds a page in the processes that draw, and the peak of memory of one of them. With ``--run`` it
then indexes the file with that model and prints pages a second, the run's processor seconds, and its peak of memory.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import threading

from measure import environment, now, timed

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(HERE, "tests"))
TICKS = os.sysconf("SC_CLK_TCK")


def draw(pages: int) -> bytes:
    """Return the PDF."""
    import pypdf
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    from support.pictures import scene

    parts = io.BytesIO()
    with PdfPages(parts) as file:
        full = Figure((8.27, 11.69))
        for line in range(60):
            full.text(
                0.1, 0.95 - line * 0.015, f"{line} a line of text as reports have, total {line * 1.37:.2f}"
            )
        file.savefig(full)
        chart = Figure((8.27, 11.69))
        for row in range(3):
            axes = chart.add_subplot(3, 1, row + 1)
            axes.plot([(row + 2) * x % 17 for x in range(400)])
        file.savefig(chart)
    scan = io.BytesIO()
    scene(1, (1240, 1754)).save(scan, "PDF", resolution=150)
    kinds = [*pypdf.PdfReader(parts).pages, *pypdf.PdfReader(scan).pages]
    writer = pypdf.PdfWriter()
    for number in range(pages):
        writer.add_page(kinds[number % len(kinds)])
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def read(path: str, budget: int, threads: int) -> None:
    """Read all pages in so many threads and print what it took."""
    from imgsearch.media.documents import close_readers, open_document
    from imgsearch.types import PixelBudget

    spent, peaks, counts = [], [], []

    def work(first: int) -> None:
        with open(path, "rb") as file, open_document(file, path) as document:
            places = document.places[first::threads]
            for place in places:
                document.picture(place, PixelBudget(4096, budget))
            process = document._child._process.pid  # type: ignore[attr-defined]
            with open(f"/proc/{process}/stat") as stat:
                spent.append(sum(map(int, stat.read().rpartition(")")[2].split()[11:13])) / TICKS)
            with open(f"/proc/{process}/status") as status:
                peaks.append(int(status.read().partition("VmHWM:")[2].split()[0]) / 1000)
            counts.append(len(places))

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    began = now()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took, pages = now() - began, sum(counts)
    close_readers()
    print(
        f"{threads} threads: {pages / took:.0f} pages a second, {1000 * sum(spent) / pages:.1f} ms a page in the "
        f"processes, {max(peaks):.0f} MB each"
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--budget", type=int, default=360_000)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--run", metavar="MODEL")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pages", "pages.pdf")
        os.mkdir(os.path.dirname(path))
        with open(path, "wb") as file:
            file.write(draw(options.pages))
        for threads in options.threads:
            read(path, options.budget, threads)
        if options.run:
            command = [
                sys.executable,
                "-m",
                "imgsearch",
                "index",
                os.path.dirname(path),
                "--model",
                options.run,
            ]
            done = timed([*command, "--index", os.path.join(folder, "index")], environment(folder))
            print(
                f"index: {options.pages / done.seconds:.1f} pages a second, {done.cpu:.0f} s of the processors, "
                f"{done.peak_mb:.0f} MB at most"
            )


if __name__ == "__main__":
    main()
