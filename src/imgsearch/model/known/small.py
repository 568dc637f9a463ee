"""Well-known encoders beyond the comparison on document pages: most are smaller, for machines without a GPU."""

from __future__ import annotations

from imgsearch.model.known.row import Figure, KnownModel, Tower
from imgsearch.model.known.shapes import vit

_MIB = 1 << 20
_HUB = "https://huggingface.co/"
_CLIP = "https://sbert.net/docs/sentence_transformer/pretrained_models.html"
_SIGLIP2 = "https://arxiv.org/abs/2502.14786"
_MANY = "109 (trained on)"


def _coco(words: str, images: str, top: str) -> tuple[Figure, ...]:
    return (
        Figure("COCO, image by caption, recall@1", f"{words} %", _SIGLIP2),
        Figure("COCO, caption by image, recall@1", f"{images} %", _SIGLIP2),
        Figure("ImageNet, zero-shot, top 1", f"{top} %", _SIGLIP2),
    )


SMALL = (
    KnownModel(
        "sentence-transformers/clip-ViT-B-32", "clip", "library", "not stated (CLIP itself: MIT)", 151_277_313,
        605_000_000, 512, "English", "photos", _HUB + "sentence-transformers/clip-ViT-B-32",
        (Figure("ImageNet, zero-shot, top 1", "63.3 %", _CLIP),), vit(32, 224, "base", extra=1), "", ("license",),
    ),
    KnownModel(
        "sentence-transformers/clip-ViT-B-16", "clip", "library", "not stated (CLIP itself: MIT)", 149_620_737,
        599_000_000, 512, "English", "photos", _HUB + "sentence-transformers/clip-ViT-B-16",
        (Figure("ImageNet, zero-shot, top 1", "68.1 %", _CLIP),), vit(16, 224, "base", extra=1), "", ("license",),
    ),
    KnownModel(
        "google/siglip2-base-patch32-256", "siglip", "library", "Apache 2.0", 376_856_066, 1_438 * _MIB, 768, _MANY,
        "photos", _HUB + "google/siglip2-base-patch32-256", (), vit(32, 256, "base"),
    ),
    KnownModel(
        "google/siglip2-base-patch16-256", "siglip", "library", "Apache 2.0", 375_234_050, 1_431 * _MIB, 768, _MANY,
        "photos", _HUB + "google/siglip2-base-patch16-256", _coco("53.2", "69.7", "79.1"), vit(16, 256, "base"),
    ),
    KnownModel(
        "google/siglip2-large-patch16-256", "siglip", "library", "Apache 2.0", 881_526_786, 3_363 * _MIB, 1024, _MANY,
        "photos", _HUB + "google/siglip2-large-patch16-256", (), vit(16, 256, "large"),
    ),
    KnownModel(
        "google/siglip2-so400m-patch14-384", "siglip", "library", "Apache 2.0", 1_136_008_498, 4_334 * _MIB, 1152,
        _MANY, "photos", _HUB + "google/siglip2-so400m-patch14-384", (), vit(14, 384, "so400m"),
    ),
    KnownModel(
        "google/embeddinggemma-2", "embedding_gemma2", "library", "Apache 2.0", 740_000_000, 1_480_000_000, 768,
        "many", "photos, document pages, audio", _HUB + "google/embeddinggemma-2", (),
        (
            # 280 tokens of the language model at most, of 3 × 3 patches each.
            Tower(tokens=2520, width=768, inner=3072, layers=16, heads=12, gated=True),
            Tower(tokens=290, width=512, inner=2048, layers=24, heads=4, kv_heads=2, head_dim=256, gated=True),
        ),
        "torchvision", ("download", "languages", "cost of an image"),
    ),
    KnownModel(
        "jinaai/jina-clip-v2", "jina_clip", "code", "CC BY-NC 4.0", 865_278_477, 1_650 * _MIB, 1024, "89 (trained on)",
        "photos", _HUB + "jinaai/jina-clip-v2", (), (), "its authors' own code, which imgsearch doesn't run",
    ),
    KnownModel(
        "tencent/WeMM-Embedding-2B", "qwen3_5", "code", "Apache 2.0", None, None, 2048, "many",
        "photos and document pages", _HUB + "tencent/WeMM-Embedding-2B", (), (),
        "its authors' own code, which imgsearch doesn't run", ("license", "parameters", "download", "languages"),
    ),
)  # fmt: skip
"""Parameters, licenses and sizes by the repositories and by the model sheets of MTEB."""
