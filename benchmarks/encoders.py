"""All encoders and dtypes on the machine at hand: images per second from files, share of the ceiling, memory, parity.

Theory: a photo through Qwen3-VL-Embedding-2B (57,600 pixels) costs 0.33 teraflop in its products, through SigLIP 2 base
0.046, CLIP ViT-L/14 0.16, ViT-B/32 0.009 (``known_model(name).operations``). So the small ones should be 7, 2 and 37
times as fast, less what their narrow products and the decoding of files take: a JPEG of 12 megapixels costs some 30 ms
of a core. In bfloat16 twice that, where the processor multiplies it, and a tenth where it doesn't.

    python benchmarks/encoders.py [--few] [--tiny] [--only PART,…] [--dtypes float32,bfloat16,int8] [--rounds 2]
        [--photos DIR] [--peer PYTHON] [--scratch DIR] [--keep]

Every row is made by this script: random weights of the published shapes, the same JPEGs of 12 megapixels (drawn, or of
``--photos``), a process of its own that loads the model, embeds two images to warm up, and then so many batches as fit
into ``--seconds``, at least one. The rows take turns, round by round; a row that took more than a minute has one round.
imgsearch reads files as ``index`` does, in threads ahead of the model; the libraries are given opened images, as their
users do it. The share of the ceiling is by the operations of the plain forward; the ceiling is what a large product
reaches in the same dtype in the same round. Parity is the lowest cosine of two small images, which nobody has to
resize, with what sentence-transformers gives for them in float32. Peak memory is the process's own. ``--peer`` is a
Python that has sentence-transformers and torchvision, for the models whose processors need that. ``--few`` measures one
batch of two in one round, ``--tiny`` takes tiny models: both only try the script. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import measure

ROOT = Path(__file__).parents[1]
PEER = str(ROOT / ".venv-reference" / "bin" / "python")
BATCH, LONG = 8, 60.0
CLIP_MODULE = "sentence_transformers.sentence_transformer.modules.CLIPModel"
VISION = {  # width, inner, layers, heads
    "base": (768, 3072, 12, 12),
    "large": (1024, 4096, 24, 16),
}


class Encoder(NamedTuple):
    """A model of the table: its label, its name among the known models, what makes it, and an image's height, width."""

    label: str
    name: str
    maker: str
    size: tuple[int, int]


class Row(NamedTuple):
    """A line of the table: a model, by whom it is computed, in which dtype."""

    encoder: Encoder
    by: str
    dtype: str

    @property
    def key(self) -> str:
        """Name the row."""
        return f"{self.encoder.label} · {self.by} · {self.dtype}"


QWEN = Encoder("Qwen3-VL-Embedding-2B", "Qwen/Qwen3-VL-Embedding-2B", "qwen", (224, 256))
OTHERS = (
    Encoder("SigLIP 2 base/16, 256", "google/siglip2-base-patch16-256", "siglip base 16 256", (256, 256)),
    Encoder("CLIP ViT-B/32", "sentence-transformers/clip-ViT-B-32", "clip base 32 224", (224, 224)),
    Encoder("CLIP ViT-L/14", "sentence-transformers/clip-ViT-L-14", "clip large 14 224", (224, 224)),
)


def table(options: argparse.Namespace) -> list[Row]:
    """Return the rows that were asked for; the reference of each model's parity is among them."""
    dtypes = options.dtypes.split(",")
    rows = [Row(QWEN, "imgsearch", dtype) for dtype in dtypes]
    for by in ("transformers", "sentence-transformers"):
        rows += [Row(QWEN, by, dtype) for dtype in dtypes if dtype != "int8"]
    for encoder in OTHERS:
        for by in ("imgsearch", "sentence-transformers"):
            rows += [Row(encoder, by, dtype) for dtype in dtypes if dtype != "int8"]
    if options.only:
        wanted = options.only.lower().split(",")
        rows = [row for row in rows if any(part in row.key.lower() for part in wanted)]
    return rows


# Making models. In processes of their own: where memory is measured, a child's count begins with its parent's.


def write(maker: str, folder: Path, tiny: bool) -> None:
    """Write the random checkpoint of an encoder."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "recipes"), str(ROOT / "tests")]
    if maker == "qwen":
        import embedding_pass

        embedding_pass.write_checkpoint(folder, None, tiny=tiny)
        embedding_pass.set_budget(folder, 57_600)
        return
    kind, size, patch, side = maker.split()
    os.makedirs(folder)
    (write_clip if kind == "clip" else write_siglip)(str(folder), size, int(patch), int(side), tiny)


def vision(size: str, patch: int, side: int, tiny: bool) -> dict[str, int]:
    """Return the published configuration of an image tower, or a tiny one."""
    width, inner, layers, heads = (32, 64, 2, 2) if tiny else VISION[size]
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "patch_size": patch,
        "image_size": side,
    }


def write_clip(folder: str, size: str, patch: int, side: int, tiny: bool) -> None:
    """Write a CLIP in the library's own format; its text tower has the published size too."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPModel

    from support.tiny_models import write_json, write_modules

    torch.manual_seed(3)
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    width = 32 if tiny else {"base": 512, "large": 768}[size]
    text = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 2 if tiny else 12,
        "num_attention_heads": width // 16 if tiny else width // 64,
        "vocab_size": len(words) if tiny else 49_408,
        "bos_token_id": len(words) - 2,
        "eos_token_id": len(words) - 1,
    }
    config = CLIPConfig(text_config=text, vision_config=vision(size, patch, side, tiny), projection_dim=width)
    CLIPModel(config).save_pretrained(folder)
    write_json(folder, "vocab.json", {word: number for number, word in enumerate(words)})
    Path(folder, "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    write_json(folder, "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
    }
    write_json(folder, "preprocessor_config.json", settings)
    write_modules(folder, CLIP_MODULE)
    write_json(folder, "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})


def write_siglip(folder: str, size: str, patch: int, side: int, tiny: bool) -> None:
    """Write a SigLIP 2 of one resolution as its authors do, without modules."""
    import torch
    from transformers import SiglipConfig, SiglipModel

    from support.tiny_models import write_json, write_tokenizer

    torch.manual_seed(4)
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    words = write_tokenizer(folder, "PreTrainedTokenizerFast", special, end="<eos>", most=64)
    tower = vision(size, patch, side, tiny)
    text = {name: tower[name] for name in tower if name not in ("patch_size", "image_size")}
    text |= {"vocab_size": words if tiny else 256_000, "max_position_embeddings": 64}
    tokens = {
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
        "projection_size": tower["hidden_size"],
    }
    SiglipModel(SiglipConfig(text_config=text | tokens, vision_config=tower)).save_pretrained(folder)
    settings = {"image_processor_type": "SiglipImageProcessor", "processor_class": "SiglipProcessor"}
    write_json(folder, "preprocessor_config.json", {**settings, "size": {"height": side, "width": side}})


def draw(folder: Path, count: int, tiny: bool) -> None:
    """Draw JPEGs of 12 megapixels with edges and noise, so that they cost what photos do."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    height, width = (300, 400) if tiny else (3000, 4000)
    for number in range(count):
        small = generator.integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
        large = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), np.int16)
        noisy = large + generator.integers(-8, 9, large.shape, dtype=np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.jpg", quality=90)


# The rows, each in a process of its own.


class Contender(NamedTuple):
    """What a row does: embed the images in files, or images in memory; either gives rows of unit length."""

    files: Any
    images: Any


def imgsearch(options: argparse.Namespace) -> Contender:
    """Return this program: the road that ``index`` takes, without the index."""
    from imgsearch.client import load_local_encoder
    from imgsearch.spec import choose_spec
    from imgsearch.tools.dataset.retrieval import PictureRef, decode_each
    from imgsearch.types import Input, ModelOptions, Silent

    choice = ModelOptions(model=options.folder, device="cpu", dtype=options.dtype, force_model=True)
    checkpoint, spec = choose_spec(choice, Silent())
    encoder = load_local_encoder(checkpoint, spec, choice, Silent())

    def embed(prepared: list[Any]) -> Any:
        inputs = [Input(image=one, instruction=spec.document_prompt) for one in prepared]
        return encoder.embed(inputs, batch_size=BATCH)

    def files(paths: list[str]) -> Iterator[int]:
        ahead: list[Any] = []
        refs = [PictureRef(path) for path in paths]
        for prepared in decode_each(refs, spec.pixels, encoder.prepare, ahead=2 * BATCH):
            ahead.append(prepared)
            if len(ahead) == options.batch:
                embed(ahead)
                yield len(ahead)
                ahead = []

    return Contender(files, lambda images: embed([encoder.prepare(image) for image in images]))


def transformers(options: argparse.Namespace) -> Contender:
    """Return transformers' own modules for Qwen3-VL, over the tokens and patches of this program."""
    from imgsearch.model.checkpoint import Checkpoint
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.reference import Reference
    from imgsearch.model.runtime import choose
    from imgsearch.tools.dataset.retrieval import PictureRef, decode_each
    from imgsearch.types import PixelBudget

    # Only for its tokens and patches: its own weights are mapped and never read.
    budget = PixelBudget(4096, 57_600)
    embedder = Qwen3VLEmbedder(options.folder, device="cpu", dtype="bfloat16", budget=budget)
    reference = Reference(Checkpoint(options.folder), choose("cpu", options.dtype))

    def embed(images: list[Any]) -> Any:
        return reference([embedder._encode_input({"image": image}, 0, 1) for image in images])

    def files(paths: list[str]) -> Iterator[int]:
        ahead: list[Any] = []
        for image in decode_each([PictureRef(path) for path in paths], budget, lambda image: image):
            ahead.append(image)
            if len(ahead) == options.batch:
                embed(ahead)
                yield len(ahead)
                ahead = []

    return Contender(files, embed)


def library(options: argparse.Namespace) -> Contender:
    """Return sentence-transformers as its users call it."""
    import torch

    with contextlib.suppress(ImportError):
        try:
            import torchvision
        except RuntimeError:  # built for another torch: what it has in C is not needed, but must be declared
            for operator in ("nms", "qnms"):
                declared = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{operator}", declared)
            import torchvision  # noqa: F401
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    kind = getattr(torch, options.dtype)
    model = SentenceTransformer(options.folder, device="cpu", model_kwargs={"dtype": kind})
    model.eval()

    def embed(images: list[Any]) -> Any:
        return (
            model.encode_document(
                images,
                batch_size=BATCH,
                show_progress_bar=False,
                normalize_embeddings=True,
                convert_to_tensor=True,
            )
            .float()
            .cpu()
            .numpy()
        )

    def files(paths: list[str]) -> Iterator[int]:
        for start in range(0, len(paths) - options.batch + 1, options.batch):
            batch = paths[start : start + options.batch]
            embed([Image.open(path).convert("RGB") for path in batch])
            yield len(batch)

    return Contender(files, lambda images: embed([Image.fromarray(image) for image in images]))


def worker(options: argparse.Namespace) -> None:
    """Be one row: load, embed for parity and to warm up, embed from files, print what came out."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "recipes")]
    import numpy as np

    if options.worker == "write":
        write(options.maker, Path(options.folder), options.tiny)
        return
    if options.worker == "draw":
        draw(Path(options.folder), options.count, options.tiny)
        return
    if options.worker == "ceiling":
        import embedding_pass

        found: dict[str, Any] = {}
        try:
            embedding_pass.ceiling(argparse.Namespace(device="cpu", dtype=options.dtype), found)
        except RuntimeError:  # oneDNN has no such product on this processor: torch's own is the ceiling
            found["flops"] = plain_product(options.dtype)
        print(json.dumps(found))
        return
    makers = {"imgsearch": imgsearch, "transformers": transformers, "sentence-transformers": library}
    began = measure.now()
    contender = makers[options.worker](options)
    loaded = measure.now() - began
    generator = np.random.default_rng(0)
    height, width = map(int, options.size.split("x"))
    images = [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(2)]
    np.save(options.out, np.concatenate([np.asarray(contender.images([image])) for image in images]))
    paths = sorted(str(path) for path in Path(options.photos).iterdir())
    done, taken, began = 0, 0.0, measure.now()
    for count in contender.files(paths):
        done, taken = done + count, measure.now() - began
        if taken > options.seconds:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rate": done / taken, "images": done, "load_seconds": loaded, "peak_bytes": peak}))


def plain_product(dtype: str) -> float:
    """Return the operations a second that torch's own product of large matrices reaches."""
    import torch

    x = torch.randn(512, 2048).to(getattr(torch, dtype))
    weight = torch.randn(6144, 2048).to(x)
    rates = []
    for _ in range(3):
        began = measure.now()
        torch.nn.functional.linear(x, weight)
        rates.append(2 * 512 * 2048 * 6144 / (measure.now() - began))
    return max(rates)


# The table.


def start(options: argparse.Namespace, python: str, name: str, *more: str) -> dict[str, Any]:
    """Run a worker; return what it printed, or why there is nothing."""
    argv = [python, __file__, "--worker", name, *more, *(["--tiny"] if options.tiny else [])]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1]
        return {"failed": last.rsplit("Error: ", 1)[-1][:160]}
    return measure.said(done.stdout) if done.stdout.strip() else {}


def main() -> None:
    """Make what is lacking, let the rows take turns, print the table and the JSON line."""
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--dtypes", default="float32,bfloat16,int8")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--count", type=int, default=24, help="files")
    parser.add_argument("--photos")
    parser.add_argument("--peer", default=PEER)
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--keep", action="store_true", help="keep the checkpoints for the next run")
    for name in ("--worker", "--folder", "--dtype", "--size", "--out", "--maker"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
        return
    if options.few or options.tiny:
        options.rounds, options.seconds, options.count = 1, 0.0, 4
    rows = table(options)
    work = Path(options.scratch) / f"imgsearch-encoders{'-tiny' if options.tiny else ''}"
    work.mkdir(parents=True, exist_ok=True)
    try:
        results, ceilings = take_turns(options, rows, work)
        show(options, rows, results, ceilings, work)
    finally:
        if not options.keep:
            shutil.rmtree(work)


def take_turns(
    options: argparse.Namespace, rows: list[Row], work: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Run every row in every round; return what is known of each row, and the ceiling of each dtype."""
    photos = Path(options.photos) if options.photos else work / "photos"
    if not options.photos and not photos.exists():
        photos.mkdir()
        start(options, sys.executable, "draw", "--folder", str(photos), "--count", str(options.count))
    folders = {row.encoder: work / row.encoder.maker.replace(" ", "-") for row in rows}
    for encoder, folder in folders.items():
        if not (folder / "config.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            made = start(options, sys.executable, "write", "--maker", encoder.maker, "--folder", str(folder))
            if made:
                raise SystemExit(f"{encoder.label}: {made}")
    results: dict[str, dict[str, Any]] = {row.key: {"rates": []} for row in rows}
    ceilings: dict[str, float] = {}
    slow = set() if multiplies_bfloat16() else {"bfloat16"}
    for turn in range(options.rounds):
        for dtype in dict.fromkeys(row.dtype for row in rows):
            said = start(options, sys.executable, "ceiling", "--dtype", dtype)
            ceilings[dtype] = max(ceilings.get(dtype, 0.0), said.get("flops", 0.0))
        for row in rows:
            known = results[row.key]
            if turn and ("failed" in known or known["seconds"] > LONG):
                continue
            needs_vision = row.encoder is QWEN and row.by == "sentence-transformers"
            python = options.peer if needs_vision else sys.executable
            if not os.path.exists(python):
                known["failed"] = f"no {python}"
                continue
            batch = 2 if options.few or row.dtype in slow else options.batch
            began = measure.now()
            said = start(
                options, python, row.by, "--folder", str(folders[row.encoder]), "--dtype", row.dtype,
                "--size", "x".join(map(str, row.encoder.size)), "--photos", str(photos), "--batch", str(batch),
                "--seconds", str(options.seconds), "--out", str(work / f"{rows.index(row)}.npy"),
            )  # fmt: skip
            known["seconds"] = measure.now() - began
            if "rate" in said:
                known["rates"].append(said.pop("rate"))
            known |= said
            print(f"round {turn + 1}, {known['seconds']:.0f} s: {row.key}: {said}", file=sys.stderr)
    return results, ceilings


def multiplies_bfloat16() -> bool:
    """Tell whether the processor has instructions for it, without torch, whose memory would count for every row."""
    with contextlib.suppress(OSError):
        return not {"avx512_bf16", "amx_bf16"}.isdisjoint(Path("/proc/cpuinfo").read_text().split())
    return True


def show(
    options: argparse.Namespace,
    rows: list[Row],
    results: dict[str, dict[str, Any]],
    ceilings: dict[str, float],
    work: Path,
) -> None:
    """Print the table and the JSON line."""
    import numpy as np

    sys.path.insert(0, str(ROOT / "src"))
    from imgsearch.model.known import known_model

    vectors = {}
    for number, row in enumerate(rows):
        with contextlib.suppress(OSError):
            vectors[row] = np.load(work / f"{number}.npy").astype(np.float64)
    head = (
        f"{'model':24} {'by':22} {'dtype':9} {'images/s':>9} {'of ceiling':>11} {'peak GB':>8} {'parity':>9}"
    )
    print(head)
    for row in rows:
        found = results[row.key]
        if not found["rates"]:
            print(f"{row.encoder.label:24} {row.by:22} {row.dtype:9} {found.get('failed', 'nothing')}")
            continue
        rate = found["rate"] = statistics.median(found["rates"])
        known = known_model(row.encoder.name)
        work_done = (known.operations or 0.0) * rate if known else 0.0
        share = found["share"] = work_done / ceilings[row.dtype] if ceilings.get(row.dtype) else None
        reference = vectors.get(Row(row.encoder, "sentence-transformers", "float32"))
        parity = None
        if reference is not None and row in vectors and reference.shape == vectors[row].shape:
            units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (reference, vectors[row])]
            parity = found["parity"] = float((units[0] * units[1]).sum(1).min())
        print(
            f"{row.encoder.label:24} {row.by:22} {row.dtype:9} {rate:9.3g} "
            f"{'–' if share is None or options.tiny else f'{share:.0%}':>11} {found['peak_bytes'] / 1e9:8.2f} "
            f"{'–' if parity is None else f'{parity:.6f}':>9}"
        )
    said = ", ".join(f"{dtype} {flops / 1e9:,.0f}" for dtype, flops in ceilings.items())
    print(f"ceiling in gigaflop a second: {said}")
    made = {"tiny": options.tiny, "few": options.few, "ceilings": ceilings, "rows": results}
    print(json.dumps({"benchmark": "encoders", **made}))


if __name__ == "__main__":
    main()
