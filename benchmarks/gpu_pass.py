"""What gpu.py measures of the model: precision, pictures a second from memory, and where the time of a pass goes."""

from __future__ import annotations

import argparse
import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import embedding_pass
import measure

# Sides as the pixel budget leaves them of 4:3, 3:4, 3:2, 2:3, 16:9, a square and a panorama.
SHAPES = ((224, 256), (256, 224), (192, 288), (288, 192), (160, 320), (224, 224), (128, 416))


def synchronize(device: str) -> None:
    """Wait until the device has done what was asked of it."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def rate(options: argparse.Namespace, work: Callable[[], object], seconds: float, count: int = 1) -> float:
    """Return how often a second ``work`` is done, ``count`` at a time, over some seconds after two to warm up."""
    for _ in range(2):
        work()
    synchronize(options.device)
    began, done = measure.now(), 0
    while measure.now() - began < seconds or done < 3:
        work()
        done += 1
        if done % 4 == 0:
            synchronize(options.device)
    synchronize(options.device)
    return done * count / (measure.now() - began)


def pictures(count: int, shapes: Any = SHAPES[:1]) -> list[Any]:
    """Draw (height, width, 3) uint8 pictures of these shapes in turns, smooth with some noise."""
    import numpy as np

    generator = np.random.default_rng(0)
    drawn = []
    for number in range(count):
        height, width = shapes[number % len(shapes)]
        coarse = generator.integers(0, 256, (height // 32, width // 32, 3)).repeat(32, 0).repeat(32, 1)
        noise = generator.integers(-24, 25, (height, width, 3))
        drawn.append(np.clip(coarse + noise, 0, 255).astype(np.uint8))
    return drawn


def load(options: argparse.Namespace, dtype: str) -> Any:
    """Return imgsearch's embedder in a dtype."""
    from imgsearch.model.embedder import Qwen3VLEmbedder

    return Qwen3VLEmbedder(options.folder, device=options.device, dtype=dtype)


def has_peer() -> bool:
    """Whether this Python has sentence-transformers with what it needs for images."""
    return all(importlib.util.find_spec(name) for name in ("sentence_transformers", "torchvision"))


def load_peer(options: argparse.Namespace, dtype: str) -> Any:
    """Return sentence-transformers on the device in a dtype."""
    import torch
    from sentence_transformers import SentenceTransformer

    kwargs = {"dtype": getattr(torch, dtype)}
    return SentenceTransformer(options.folder, device=options.device, model_kwargs=kwargs)


def _of_peer(options: argparse.Namespace, some: list[Any], texts: list[str]) -> Any:
    """Return sentence-transformers' vectors of pictures and texts, in float32."""
    import numpy as np
    from PIL import Image

    peer = load_peer(options, "float32")
    images = peer.encode([Image.fromarray(image) for image in some], batch_size=8, show_progress_bar=False)
    return np.concatenate([images, peer.encode(texts, show_progress_bar=False)])


def precision(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the dtypes with float32, and both with sentence-transformers in float32."""
    import numpy as np

    some = pictures(8 if options.tiny else 28, SHAPES)
    texts = ["a cat on the grass", "ein rotes Auto bei Nacht", "two people in a boat", "a menu with prices"]
    items = [{"image": image} for image in some] + [{"text": text} for text in texts]
    rows, found = {}, {}
    for dtype in ("float32", "float16", "bfloat16"):
        began = measure.now()
        embedder = load(options, dtype)
        rows[dtype] = embedder.embed(items)
        found[f"{dtype}_first_s"] = round(measure.now() - began, 2)
        again = embedder.embed(items[::-1])[::-1]
        found[f"{dtype}_again"] = float((rows[dtype] * again).sum(axis=1).min())
        found[f"{dtype}_finite"] = bool(np.isfinite(embedder.embed(items[:4])).all())
        del embedder
    compared = ["float16", "bfloat16"]
    if has_peer():
        rows["peer"] = _of_peer(options, some, texts)
        compared.append("peer")
    for dtype in compared:
        cosines = (rows["float32"] * rows[dtype]).sum(axis=1)
        found[f"{dtype}_images"] = round(float(cosines[: len(some)].min()), 6)
        found[f"{dtype}_texts"] = round(float(cosines[len(some) :].min()), 6)
    near = rows["float32"][: len(some)]
    found["between_images"] = round(float(np.sort(near @ near.T, axis=1)[:, -2].max()), 4)
    return found


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Measure pictures a second from prepared patches in memory."""
    import torch
    from PIL import Image

    cuda = options.device.startswith("cuda")
    seconds = 0.2 if options.tiny else 1.5
    batches = (1, 4) if options.tiny else (1, 8, 16, 32, 64, 128, 256)
    found: dict[str, Any] = {"rows": []}

    def note(
        name: str, dtype: str, batch: int, shapes: int, work: Callable[[], object], least: float
    ) -> None:
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        per_second = rate(options, work, least, batch)
        peak = torch.cuda.max_memory_allocated() / 1e9 if cuda else 0.0
        row = {"name": name, "dtype": dtype, "batch": batch, "shapes": shapes}
        found["rows"].append(row | {"per_second": round(per_second, 1), "peak_gb": round(peak, 2)})
        print(found["rows"][-1], flush=True)

    flop: dict[str, float] = {}
    for dtype in ("bfloat16", "float16", "float32"):
        embedder = load(options, dtype)
        found.setdefault("choice", f"{embedder.batch_size} ({embedder.batch_reason})")
        if not flop:
            tokens, (patches,) = embedder._encode_input({"image": pictures(1)[0]}, 0, 1)
            from imgsearch.model.checkpoint import Checkpoint
            from imgsearch.model.engine.config import read_architecture

            counted = (
                read_architecture(Checkpoint(options.folder)),
                len(patches.pixel_values),
                len(tokens.ids),
            )
            flop["flop"] = embedding_pass.operations(*counted)
            flop["engine_flop"] = embedding_pass.engine_operations(*counted, tokens.prefix_length)
            found |= flop | {"tokens": len(tokens.ids), "prefix": tokens.prefix_length}
        for batch in (
            batches if dtype == "bfloat16" else (batches[-3:] if dtype == "float16" else batches[-2:-1])
        ):
            for shapes in (1, 7) if dtype == "bfloat16" else (1,):
                ready = [embedder.prepare(image) for image in pictures(batch, SHAPES[:shapes])]
                items = [{"image": patches} for patches in ready]
                work = functools.partial(embedder.embed, items, batch_size=batch)
                note("imgsearch", dtype, batch, shapes, work, seconds)
        del embedder
        if cuda:
            torch.cuda.empty_cache()
    for dtype in ("bfloat16",) if has_peer() else ():
        peer = load_peer(options, dtype)
        for batch in batches[-1:] if options.tiny else (32, 128):
            for shapes in (1, 7):
                images = [Image.fromarray(image) for image in pictures(batch, SHAPES[:shapes])]
                work = functools.partial(peer.encode, images, batch_size=batch, show_progress_bar=False)
                note("sentence-transformers", dtype, batch, shapes, work, seconds)
    return found


def kernels(options: argparse.Namespace) -> dict[str, Any]:
    """Profile a pass, try a CUDA graph of it, and time other forms of what lies between the products."""
    import torch

    cuda = options.device.startswith("cuda")
    batch = 4 if options.tiny else 64
    embedder = load(options, "bfloat16")
    engine = embedder.forward
    ready = [embedder._encode_input({"image": image}, 0, 1) for image in pictures(batch)]
    found: dict[str, Any] = {}
    found["encode_ms"] = round(
        1e3 / rate(options, lambda: embedder._encode_input({"image": ready[0][1][0]}, 0, 1), 0.2), 3
    )
    found["pass_per_second"] = round(
        rate(options, lambda: engine(ready), 0.2 if options.tiny else 1.0, batch), 1
    )
    patches = [image for _, images in ready for image in images]
    found["frames_ms"] = round(1e3 / rate(options, lambda: engine._frames(patches), 0.2) / batch, 3)
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if cuda else []
    with torch.profiler.profile(activities=activities) as profile:
        engine(ready)
        synchronize(options.device)
    by = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    table = profile.key_averages().table(sort_by=by, row_limit=25, max_name_column_width=70)
    print(table)
    device_us = sum(getattr(event, "self_device_time_total", 0) for event in profile.key_averages())
    launched = sum(event.count for event in profile.key_averages() if "LaunchKernel" in event.key)
    found |= {"device_ms": round(device_us / 1e3, 2), "launches": launched}
    if cuda:
        found |= graph(options, engine, ready) | forms(options)
    return found


def graph(options: argparse.Namespace, engine: Any, ready: list[Any]) -> dict[str, Any]:
    """Time the device's part of a pass launched by Python and replayed as a CUDA graph, at several batch sizes."""
    import torch

    found: dict[str, Any] = {}
    for batch in (1, 8, 32, 64):
        with torch.inference_mode():
            compute = _on_device(options, engine, ready[:batch])
            found[f"eager_{batch}"] = round(rate(options, compute, 0.5, batch), 1)
            try:
                with torch.cuda.stream(torch.cuda.Stream()):
                    compute()
                torch.cuda.synchronize()
                recorded = torch.cuda.CUDAGraph()
                with torch.cuda.graph(recorded):
                    compute()
                found[f"graph_{batch}"] = round(rate(options, recorded.replay, 0.5, batch), 1)
            except Exception as error:
                torch.cuda.synchronize()
                found[f"graph_{batch}"] = f"{type(error).__name__}: {str(error)[:200]}"
                break
    return found


def _on_device(options: argparse.Namespace, engine: Any, some: list[Any]) -> Callable[[], Any]:
    """Return what computes prompts of one shape from what lies on the device already."""
    import torch

    tokens = [one for one, _ in some]
    frames = engine._frames([image for _, images in some for image in images])
    begin, grid = int(tokens[0].types.argmax()), some[0][1][0].grid[1:]
    prefix = engine._prefix(tokens[0])
    cached = len(prefix)
    kv_cache = engine._prefix_cache.get(prefix) if cached else None
    ids = torch.stack([torch.from_numpy(one.ids[cached:]) for one in tokens]).to(options.device)
    rotary = engine._rotary(((begin, grid),), cached + ids.shape[1]).part(cached, None)
    # While a graph is recorded nothing may come from the CPU.
    lengths: Any = torch.full((len(some),), ids.shape[1], device=options.device)
    start = begin - cached

    def compute() -> torch.Tensor:
        hidden = engine._language.embed(ids)
        seen = engine.load_vision()(frames, grid)
        hidden[:, start : start + seen.tokens.shape[1]] = seen.tokens
        last: torch.Tensor = engine._language.forward_last(
            hidden, rotary, lengths, kv_cache, deepstack=[(start, seen.deepstack)]
        )
        return last

    return compute


def forms(options: argparse.Namespace) -> dict[str, Any]:
    """Time attention with a prefix, rotation and norms in the forms that they could have: milliseconds of one layer."""
    import torch

    found: dict[str, Any] = {}
    with torch.inference_mode():
        for dtype in (torch.bfloat16, torch.float16):
            for name, work in (_attention(options.device, dtype) | _between(options.device, dtype)).items():
                try:
                    found[f"{dtype} {name}"] = round(1e3 / rate(options, work, 0.15), 4)
                except Exception as error:
                    found[f"{dtype} {name}"] = f"{type(error).__name__}: {str(error)[:120]}"
    return found


BATCH, LENGTH, CACHED = 64, 62, 12  # images, tokens of each, tokens of the prefix


def _attention(device: str, dtype: Any) -> dict[str, Callable[[], Any]]:
    import torch
    from torch.nn.attention.bias import causal_lower_right
    from torch.nn.functional import scaled_dot_product_attention as attend

    tokens = CACHED + LENGTH
    q = torch.randn(BATCH, LENGTH, 16, 128, device=device, dtype=dtype).transpose(1, 2)
    whole = torch.randn(BATCH, tokens, 16, 128, device=device, dtype=dtype).transpose(1, 2)
    k, v = (torch.randn(BATCH, 8, tokens, 128, device=device, dtype=dtype) for _ in range(2))
    positions = torch.arange(tokens, device=device)
    mask, corner = positions <= positions[CACHED:, None], causal_lower_right(LENGTH, tokens)

    def repeated() -> torch.Tensor:
        return attend(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), attn_mask=mask)

    return {
        "attention, masked, grouped (the engine's)": lambda: attend(q, k, v, attn_mask=mask, enable_gqa=True),
        "attention, masked, repeated": repeated,
        "attention, lower right, grouped": lambda: attend(q, k, v, attn_mask=corner, enable_gqa=True),
        "attention, causal, no prefix": lambda: attend(whole, k, v, is_causal=True, enable_gqa=True),
    }


def _between(device: str, dtype: Any) -> dict[str, Callable[[], Any]]:
    import torch
    import torch.nn.functional as F

    from imgsearch.model.engine.rotary import Rotary

    patches = torch.randn(BATCH, 224, 32, 64, device=device, dtype=dtype)
    cosine, sine = (torch.randn(224, 1, 64, device=device) for _ in range(2))
    low = cosine.to(dtype), sine.to(dtype)
    x = torch.randn(BATCH * LENGTH, 2048, device=device, dtype=dtype)
    weight, wide = torch.randn(2048, device=device).to(x), torch.randn(6144, 2048, device=device).to(x)
    heads = x.view(BATCH, LENGTH, 16, 128)

    def plain() -> torch.Tensor:
        return Rotary(cosine, sine).apply_rotary(patches)

    def rolled() -> torch.Tensor:
        """Rotate by a copy in float32 whose halves change places."""
        exact = patches.float()
        return torch.addcmul(exact * cosine, exact.roll(32, -1), sine).to(dtype)

    def halves() -> torch.Tensor:
        """Rotate without any number in float32 that is not read again; each number is rounded once."""
        rotated = torch.empty_like(patches)
        for part, other in ((slice(32), slice(32, None)), (slice(32, None), slice(32))):
            exact = patches[..., part] * cosine[..., part]
            torch.addcmul(exact, patches[..., other], sine[..., part], out=rotated[..., part])
        return rotated

    def rough() -> torch.Tensor:
        return torch.addcmul(patches * low[0], patches.roll(32, -1), low[1])

    return {
        "rotary of 224 patches (the engine's)": plain,
        "rotary, rolled": rolled,
        "rotary, by halves into place": halves,
        "rotary, by halves into place, compared": lambda: torch.testing.assert_close(halves(), plain()),
        "rotary, in 16 bits": rough,
        "rms_norm of 3,968 x 2,048": lambda: F.rms_norm(x, (2048,), weight, 1e-6),
        "rms_norm of heads": lambda: F.rms_norm(heads, (128,), weight[:128], 1e-6),
        "product with 2,048 x 6,144": lambda: F.linear(x, wide),
    }
