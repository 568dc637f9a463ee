"""How much an index run slows other work down, plain and gentle; and what a CPU quota costs that is not heard.

Theory, of the first part: a job of one thread on a machine of two cores or more loses to a plain run what the two
share: all cores are asked for, so each gets its turn, 30 to 50 % longer a lap. A gentle run has a core less and the
lowest priority, so it leaves the job its core; what remains is memory bandwidth and the clock: below 10 %. Where the
job takes 60 % of the machine or more, the gentle run waits. Of the second: with a quota of Q cores on N, N threads have
used a period's quota after Q/N of it and then stand still until the next one, every thread at once, also in the
middle of a product; as many threads as the quota has never do.

    python benchmarks/guest.py beside [--images 600] [--rounds 3] [--job-threads 1] [--model demo] [--scratch DIR]
    python benchmarks/guest.py quota [--images 200] [--rounds 3] [--quota 1.0] [--model demo] [--scratch DIR]

``beside`` draws its own JPEG files, and runs the job alone, beside `index`, and beside `index --gentle`, in turns
(A B C, A B C, …); the job is repeated for as long as the index run takes, ``--most`` seconds at most, and its median
lap counts. ``quota`` runs `index` in a control group of its own (version 1 or 2; this needs root) with the quota heard
and not heard, in turns, and prints how often the group was throttled. Where no group can be made, it says so, and
an affinity stands for the quota. Prints medians and one JSON line. Both want a quiet machine.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

import measure

_LAP_BYTES = 48 << 20
_DEAF = "import imgsearch.machine.cores as cores; cores._quota = lambda: None; "
_FORGETFUL = (
    "import os, imgsearch.machine.cores as cores; cores._allowed = lambda: cores.Cores(os.cpu_count(), ''); "
)
_MAIN = "import sys; from imgsearch.__main__ import main; sys.exit(main())"
_CGROUPS = "/sys/fs/cgroup"


def draw(folder: str, count: int, size: tuple[int, int] = (1600, 1200)) -> None:
    """Write so many JPEG files of noise and gradients, no two the same."""
    from PIL import Image

    os.makedirs(folder)
    noise, ramp = Image.effect_noise(size, 40), Image.linear_gradient("L").resize(size)
    for number in range(count):
        tint = Image.new("L", size, number % 256)
        Image.merge("RGB", (noise, ramp, tint)).rotate(number % 4 * 90).save(
            os.path.join(folder, f"{number:05}.jpg"), quality=85
        )


def lap(threads: int) -> float:
    """Do a fixed piece of work in so many threads; return the seconds that it took."""
    data, began = bytes(_LAP_BYTES), measure.now()
    workers = [threading.Thread(target=lambda: hashlib.sha256(data).digest()) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return measure.now() - began


def command(options: argparse.Namespace, index: str, photos: str, *flags: str, before: str = "") -> list[str]:
    """Return the command of one index run; ``before`` is Python that is run first."""
    run = ["index", photos, "--model", options.model, "--index", index, "--stats", *flags]
    return [sys.executable, "-c", before + _MAIN, *run]


def laps_beside(
    options: argparse.Namespace, start: list[str] | None, index: str, alone: int
) -> dict[str, float]:
    """Repeat the job while a run is under way, or ``alone`` times without one; return what was measured."""
    shutil.rmtree(index, ignore_errors=True)
    if start is None:
        found = [lap(options.job_threads) for _ in range(alone)]
        return {"lap": statistics.median(found), "laps": len(found)}
    env = {**os.environ, "IMGSEARCH_SERVER": "off"}
    began, found = measure.now(), []
    with subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env) as process:
        while process.poll() is None and measure.now() - began < options.most:
            found.append(lap(options.job_threads))
        seconds, finished = measure.now() - began, process.poll() is not None
        if not finished:
            process.send_signal(signal.SIGINT)
        process.wait()
    if finished and process.returncode:
        raise SystemExit(f"the run failed with {process.returncode}: {' '.join(start)}")
    # The first laps are beside a start, the last beside an end.
    middle = found[len(found) // 10 : len(found) - len(found) // 10] or found
    return {"lap": statistics.median(middle), "laps": len(found), "seconds": seconds, "finished": finished}


def beside(options: argparse.Namespace, scratch: str) -> dict[str, object]:
    """Measure the job alone, beside a plain run, and beside a gentle one."""
    photos, index = os.path.join(scratch, "photos"), os.path.join(scratch, "index")
    draw(photos, options.images)
    runs = {
        "alone": None,
        "index": command(options, index, photos),
        "index --gentle": command(options, index, photos, "--gentle"),
    }
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    lap(options.job_threads)
    for _ in range(options.rounds):
        for name, start in runs.items():
            seen[name].append(laps_beside(options, start, index, alone=40))
    alone = statistics.median(one["lap"] for one in seen["alone"])
    for name, found in seen.items():
        took = statistics.median(one["lap"] for one in found)
        more = ""
        if name != "alone":
            ended = all(one["finished"] for one in found)
            whole = statistics.median(one["seconds"] for one in found)
            more = (
                f"; {whole:.1f} s for {options.images} images"
                if ended
                else f"; not finished in {options.most:g} s"
            )
        print(f"{name:<16} {1000 * took:7.1f} ms a lap, {took / alone - 1:+7.1%}{more}")
    return {"beside": seen, "cores": os.cpu_count()}


@contextlib.contextmanager
def quota_group(cores: float) -> Iterator[tuple[str, Callable[[], dict[str, int]]] | None]:
    """Give the file by which a process joins a group with a quota, and what reads its counts; None without any."""
    name, period = f"imgsearch-bench-{os.getpid()}", 100_000
    # The group is beside this process's own, where it may be made: version 1 has a tree of its own for the processor.
    for root, limits in (
        (_CGROUPS, {"cpu.max": f"{int(cores * period)} {period}"}),
        (f"{_CGROUPS}/cpu", {"cpu.cfs_period_us": str(period), "cpu.cfs_quota_us": str(int(cores * period))}),
    ):
        folder = os.path.join(root, name)
        if not os.path.exists(os.path.join(root, "cgroup.procs")):
            continue  # no group, but a folder that holds the trees of version 1
        try:
            os.mkdir(folder)
        except OSError:
            continue
        try:
            for file, limit in limits.items():
                with open(os.path.join(folder, file), "w") as opened:
                    opened.write(limit)
        except OSError:
            os.rmdir(folder)
            continue

        def counts(folder: str = folder) -> dict[str, int]:
            with open(os.path.join(folder, "cpu.stat")) as opened:
                return {key: int(value) for key, value in (line.split() for line in opened)}

        try:
            yield os.path.join(folder, "cgroup.procs"), counts
        finally:
            os.rmdir(folder)
        return
    yield None


def quota(options: argparse.Namespace, scratch: str) -> dict[str, object]:
    """Measure runs with a quota that is heard and one that is not."""
    photos, index = os.path.join(scratch, "photos"), os.path.join(scratch, "index")
    draw(photos, options.images)
    env = {**os.environ, "IMGSEARCH_SERVER": "off"}
    seen: dict[str, list[dict[str, float]]] = {"heard": [], "not heard": []}
    with quota_group(options.quota) as group:
        if group is None:
            print(
                "no control group can be made here: an affinity stands for the quota, and nothing is throttled"
            )
        own = sorted(os.sched_getaffinity(0))
        kept = own[: max(1, round(options.quota))]

        def join() -> None:
            if group is None:
                os.sched_setaffinity(0, kept)
            else:
                with open(group[0], "w") as opened:
                    opened.write(str(os.getpid()))

        for _ in range(options.rounds):
            for name, before in (("heard", ""), ("not heard", _FORGETFUL if group is None else _DEAF)):
                shutil.rmtree(index, ignore_errors=True)
                at_first, began = group[1]() if group else {}, measure.now()
                done = subprocess.run(
                    command(options, index, photos, before=before),
                    env=env,
                    preexec_fn=join,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    raise SystemExit(done.stderr)
                after = group[1]() if group else {}
                grown = {key: value - at_first[key] for key, value in after.items()}
                throttled = grown.get("throttled_usec", grown.get("throttled_time", 0) // 1000) / 1e6
                found = {
                    "seconds": measure.now() - began,
                    "throttled": throttled,
                    "times": grown.get("nr_throttled", 0),
                }
                seen[name].append(found)
                print(
                    f"{name:<10} {found['seconds']:6.2f} s; {done.stderr.strip().splitlines()[-1]}",
                    file=sys.stderr,
                )
    for name, runs in seen.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"{name:<10} {middle['seconds']:6.2f} s, throttled {middle['times']:.0f} times for "
            f"{middle['throttled']:.2f} s of all threads together"
        )
    return {"quota": options.quota, "group": group is not None, "runs": seen, "cores": os.cpu_count()}


def main() -> None:
    """Read what to measure, and do it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["beside", "quota"])
    parser.add_argument("--images", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job-threads", type=int, default=1)
    parser.add_argument("--quota", type=float, default=1.0)
    parser.add_argument("--most", type=float, default=1800.0, help="seconds of one run")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--scratch")
    options = parser.parse_args()
    options.images = options.images or (600 if options.what == "beside" else 200)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        found = (beside if options.what == "beside" else quota)(options, scratch)
    print(measure.json.dumps(found))


if __name__ == "__main__":
    main()
