"""The shapes of the towers that several known models share, as their config.json files give them."""

from __future__ import annotations

from imgsearch.model.known.row import Tower

# An image of 57,600 pixels in patches of 16, 4 of which make a token of the language model; 11 tokens of prompt.
QWEN3_VL_2B = (
    Tower(tokens=224, width=1024, inner=4096, layers=24, heads=16),
    Tower(tokens=67, width=2048, inner=6144, layers=28, heads=16, kv_heads=8, head_dim=128, gated=True),
)
QWEN3_VL_8B = (
    Tower(tokens=224, width=1152, inner=4304, layers=27, heads=16),
    Tower(tokens=67, width=4096, inner=12288, layers=36, heads=32, kv_heads=8, head_dim=128, gated=True),
)
# 768 tokens of the language model at most, as the authors of the embedding models set it: a photo takes them all.
QWEN2_VL_2B = (
    Tower(tokens=3072, width=1280, inner=5120, layers=32, heads=16),
    Tower(tokens=790, width=1536, inner=8960, layers=28, heads=12, kv_heads=2, gated=True),
)
QWEN25_3B = (
    Tower(tokens=3072, width=1280, inner=3420, layers=32, heads=16, gated=True),
    Tower(tokens=790, width=2048, inner=11008, layers=36, heads=16, kv_heads=2, gated=True),
)
QWEN25_7B = (
    Tower(tokens=3072, width=1280, inner=3420, layers=32, heads=16, gated=True),
    Tower(tokens=790, width=3584, inner=18944, layers=28, heads=28, kv_heads=4, gated=True),
)
# A photo is seen as a whole and as four tiles of 336 pixels.
LLAVA_NEXT = (
    Tower(tokens=5 * 577, width=1024, inner=4096, layers=23, heads=16),
    Tower(tokens=2400, width=4096, inner=14336, layers=32, heads=32, kv_heads=8, gated=True),
)


def vit(patch: int, side: int, size: str, extra: int = 0) -> tuple[Tower, ...]:
    """Return the tower of an image encoder that sees squares of ``side`` pixels; ``extra`` tokens beside patches."""
    width, inner, layers, heads = {
        "base": (768, 3072, 12, 12),
        "large": (1024, 4096, 24, 16),
        "so400m": (1152, 4304, 27, 16),
    }[size]
    return (Tower((side // patch) ** 2 + extra, width, inner, layers, heads),)
