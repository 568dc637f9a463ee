"""The twenty models of the published comparison on document pages, in its order."""

from __future__ import annotations

from imgsearch.model.known.row import Figure, KnownModel
from imgsearch.model.known.shapes import (
    LLAVA_NEXT,
    QWEN2_VL_2B,
    QWEN3_VL_2B,
    QWEN3_VL_8B,
    QWEN25_3B,
    QWEN25_7B,
    vit,
)

_MIB = 1 << 20
_HUB = "https://huggingface.co/"
_VDR = "tomaarsen/Qwen3-VL-Embedding-2B-vdr"
_APACHE, _MIT = "Apache 2.0", "MIT"
_PAGES, _BOTH = "document pages", "photos and document pages"
# What the files of a repository ask for, as they were when this was written.
_OWN_CLASS = "its authors' own code, which imgsearch doesn't run"
_OWN_MODULE = "its authors' own module (custom_st.py), which imgsearch doesn't run"
_OWN_POOLING = "its authors' own code to make an embedding, which imgsearch doesn't run"
_ADAPTER = "its authors' own library (colpali-engine): it is an adapter for another model"
_TORCHVISION = "torchvision"
_MTEB = "https://github.com/embeddings-benchmark/mteb"


def _ndcg(value: str) -> tuple[Figure, ...]:
    return (Figure("NDCG@10 on English document pages (300 queries)", value, _HUB + _VDR),)


PAGES = (
    KnownModel(
        _VDR, "qwen3_vl", "imgsearch", _APACHE, 2_127_532_032, 4_255_000_000, 2048, "English (trained on)",
        _PAGES, _HUB + _VDR, _ndcg("0.947"), QWEN3_VL_2B,
    ),
    KnownModel(
        "Qwen/Qwen3-VL-Embedding-8B", "qwen3_vl", "imgsearch", _APACHE, 8_144_793_840, 16_290_000_000, 4096,
        "more than 30", _BOTH, _HUB + "Qwen/Qwen3-VL-Embedding-8B", _ndcg("0.923"), QWEN3_VL_8B,
    ),
    KnownModel(
        "nvidia/omni-embed-nemotron-3b", "qwen2_5_omni_thinker", "code",
        "NVIDIA OneWay Noncommercial", 4_703_464_448, 8_971 * _MIB, 2048, "English", _PAGES,
        _HUB + "nvidia/omni-embed-nemotron-3b", _ndcg("0.915"), QWEN25_3B, _OWN_CLASS, ("languages",),
    ),
    KnownModel(
        "nvidia/llama-nemotron-embed-vl-1b-v2", "llama_nemotron_vl", "code", "NVIDIA Open Model License",
        1_678_252_480, 6_402 * _MIB, 2048, "many", _PAGES,
        _HUB + "nvidia/llama-nemotron-embed-vl-1b-v2", _ndcg("0.912"), (), _OWN_CLASS, ("download",),
    ),
    KnownModel(
        "nomic-ai/nomic-embed-multimodal-7b", "qwen2_5_vl", "code", _APACHE, 8_300_000_000, None, 3584,
        "English, Italian, French, German, Spanish", _PAGES,
        _HUB + "nomic-ai/nomic-embed-multimodal-7b", _ndcg("0.912"), QWEN25_7B, _ADAPTER, ("dimensions",),
    ),
    KnownModel(
        "llamaindex/vdr-2b-multi-v1", "qwen2_vl", "code", _APACHE, 2_208_985_600, 4_420_000_000, 1536,
        "English, Italian, French, German, Spanish", _PAGES,
        _HUB + "llamaindex/vdr-2b-multi-v1", _ndcg("0.912"), QWEN2_VL_2B, _OWN_MODULE,
    ),
    KnownModel(
        "llamaindex/vdr-2b-v1", "qwen2_vl", "code", _APACHE, 2_208_985_600, 4_420_000_000, 1536, "English", _PAGES,
        _HUB + "llamaindex/vdr-2b-v1", _ndcg("0.911"), QWEN2_VL_2B, _OWN_MODULE,
    ),
    KnownModel(
        "nomic-ai/nomic-embed-multimodal-3b", "qwen2_5_vl", "code", "Apache 2.0; its base model is for research only",
        3_814_490_112, None, 2048, "English, Italian, French, German, Spanish", _PAGES,
        _HUB + "nomic-ai/nomic-embed-multimodal-3b", _ndcg("0.899"), QWEN25_3B, _ADAPTER, ("license", "dimensions"),
    ),
    KnownModel(
        "Qwen/Qwen3-VL-Embedding-2B", "qwen3_vl", "imgsearch", _APACHE, 2_127_532_032, 4_266_000_000, 2048,
        "more than 30", _BOTH, _HUB + "Qwen/Qwen3-VL-Embedding-2B", _ndcg("0.888"), QWEN3_VL_2B,
    ),
    KnownModel(
        "LCO-Embedding/LCO-Embedding-Omni-7B", "qwen2_5_omni_thinker", "library", _MIT, 8_931_813_888,
        17_043 * _MIB, 3584, "many", _BOTH, _HUB + "LCO-Embedding/LCO-Embedding-Omni-7B", _ndcg("0.888"), QWEN25_7B,
        _TORCHVISION, ("languages",),
    ),
    KnownModel(
        "LCO-Embedding/LCO-Embedding-Omni-3B", "qwen2_5_omni_thinker", "library", _MIT, 4_703_464_448,
        8_978 * _MIB, 2048, "many", _BOTH, _HUB + "LCO-Embedding/LCO-Embedding-Omni-3B", _ndcg("0.860"), QWEN25_3B,
        _TORCHVISION, ("languages",),
    ),
    KnownModel(
        "BAAI/BGE-VL-v1.5-zs", "llava_next", "code", _MIT, 7_566_747_648, 14_432 * _MIB, 4096, "English",
        "queries of an image and words", _HUB + "BAAI/BGE-VL-v1.5-zs", _ndcg("0.800"), LLAVA_NEXT, _OWN_POOLING,
    ),
    KnownModel(
        "BAAI/BGE-VL-v1.5-mmeb", "llava_next", "code", _MIT, 7_566_747_648, 14_432 * _MIB, 4096, "English",
        "queries of an image and words", _HUB + "BAAI/BGE-VL-v1.5-mmeb", _ndcg("0.797"), LLAVA_NEXT, _OWN_POOLING,
    ),
    KnownModel(
        "BAAI/BGE-VL-MLLM-S2", "llava_next", "code", _MIT, 7_566_264_320, 14_432 * _MIB, 4096, "English",
        "queries of an image and words", _HUB + "BAAI/BGE-VL-MLLM-S2", _ndcg("0.792"), LLAVA_NEXT, _OWN_POOLING,
    ),
    KnownModel(
        "BidirLM/BidirLM-Omni-2.5B-Embedding", "bidirlm_omni", "code", _APACHE, 2_445_009_536, 4_663 * _MIB, 2048,
        "more than 80", "texts, photos and audio", _HUB + "BidirLM/BidirLM-Omni-2.5B-Embedding", _ndcg("0.775"), (),
        _OWN_CLASS, ("architecture",),
    ),
    KnownModel(
        "royokong/e5-v", "llava_next", "library", "not stated", 8_355_276_800, 15_936 * _MIB, 4096, "English",
        "photos", _HUB + "royokong/e5-v", _ndcg("0.767"), LLAVA_NEXT, "", ("license",),
    ),
    KnownModel(
        "BAAI/BGE-VL-MLLM-S1", "llava_next", "code", _MIT, 7_566_264_320, 14_432 * _MIB, 4096, "English",
        "queries of an image and words", _HUB + "BAAI/BGE-VL-MLLM-S1", _ndcg("0.710"), LLAVA_NEXT, _OWN_POOLING,
    ),
    KnownModel(
        "sentence-transformers/clip-ViT-L-14", "clip", "library", "not stated (CLIP itself: MIT)", 427_616_513,
        1_710_000_000, 768, "English", "photos", _HUB + "sentence-transformers/clip-ViT-L-14",
        (
            *_ndcg("0.611"),
            Figure("ImageNet, zero-shot, top 1", "75.4 %", "https://sbert.net/docs/sentence_transformer/pretrained_models.html"),
        ),
        vit(14, 224, "large", extra=1), "", ("license",),
    ),
    KnownModel(
        "BAAI/BGE-VL-large", "clip", "library", _MIT, 427_616_513, 855_000_000, 768, "English",
        "queries of an image and words", _HUB + "BAAI/BGE-VL-large", _ndcg("0.467"), vit(14, 224, "large", extra=1),
    ),
    KnownModel(
        "BAAI/BGE-VL-base", "clip", "library", _MIT, 149_620_737, 285 * _MIB, 512, "English",
        "queries of an image and words", _HUB + "BAAI/BGE-VL-base", _ndcg("0.335"), vit(16, 224, "base", extra=1),
    ),
)  # fmt: skip
"""Parameters, licenses and sizes by the repositories and by the model sheets of MTEB."""
