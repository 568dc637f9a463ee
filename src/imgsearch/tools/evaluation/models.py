"""A model under evaluation: what its vectors are known by, and how they are made, batch by batch."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal, Protocol, TypeVar

from imgsearch.client import load_local_encoder
<<<<<<< HEAD
from imgsearch.errors import CheckpointError, DatasetError, DownloadError, InputError, MissingExtra
from imgsearch.model.conventions import conventions_of
from imgsearch.model.known import refuse_known
=======
from imgsearch.errors import CheckpointError, DatasetError, InputError
from imgsearch.model.families import conventions_of
from imgsearch.model.library.files import LibraryCheckpoint
from imgsearch.model.library.loading import version
>>>>>>> a785a71 (Models of other families by sentence-transformers, on the same road)
from imgsearch.model.locate import fetch_checkpoint
from imgsearch.spec import spec_of
from imgsearch.tools.dataset.retrieval import PictureRef, decode_each
from imgsearch.types import ImageEncoder, Input, ModelOptions, Reporter, Silent, Vectors

T = TypeVar("T")
BATCH_SIZE = 8


class EvalModel(Protocol):
    """A model with its settings. ``instructions`` are the query side's, None the model's own.

    ``full_dim`` and ``parameters`` are None where only the loaded model knows; ``pixels`` and ``dtype`` are
    None for a model that sees and computes as it likes. ``dims`` are those it was trained for, if it says so.
    """

    name: str
    peer: bool
    full_dim: int | None
    dims: tuple[int, ...]
    pixels: int | None
    dtype: str | None
    instructions: tuple[str | None, ...]

    @property
    def parameters(self) -> int | None:
        """How many parameters the model has."""

    def space(self, side: Side, instruction: str | None) -> dict[str, object]:
        """Return everything but the content that decides a vector."""

    def query_vectors(self, texts: Sequence[str], instruction: str | None) -> Iterator[Vectors]:
        """Yield the rows of the texts, in order, a batch at a time."""

    def picture_vectors(self, refs: Sequence[PictureRef]) -> Iterator[Vectors]:
        """Yield the rows of the pictures, in order, a batch at a time."""

    def close(self) -> None:
        """Let go of the model's memory."""


<<<<<<< HEAD
class SentenceTransformerModel:
    """A model that sentence-transformers loads, a folder or a name on the hub; loaded on first use.

    Each side goes through the model's own method (encode_query, encode_document) and so gets its own prompt;
    pictures are seen at its own pixel budget, and a truncate_dim that it sets is lifted to the full length.
    Code that a checkpoint brings along is not run.
    """

    def __init__(self, name: str, *, device: str = "auto", batch_size: int = 8) -> None:
        """Name the model; nothing is loaded yet. Raises CheckpointError for a name that is empty."""
        if not name.strip():
            raise CheckpointError(
                "the peer's name is empty; give a model's folder, or its name on Hugging Face"
            )
        self.name = name
        self._folder = os.path.expanduser(name)
        self._device = None if device == "auto" else device
        self._batch_size = batch_size
        self._model: Any = None

    @property
    def fingerprint(self) -> str | None:
        """What decides the model's vectors, by its files or its commit; None for one that is not here yet."""
        folder = self._local_folder()
        if folder is None or os.path.isdir(self._folder):
            return None if folder is None else _files_digest(folder)
        return f"{self.name}@{os.path.basename(folder)}"

    @property
    def parameters(self) -> int | None:
        """How many parameters it has, by its safetensors files if it is not loaded; None where they don't say."""
        if self._model is not None:
            return sum(int(tensor.numel()) for tensor in self._model.parameters())
        folder = self._local_folder()
        return None if folder is None else _parameters(folder)

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model is not None

    def _local_folder(self) -> str | None:
        """Return the folder that the model lies in: the one given, or the hub's snapshot; None if it is not here."""
        if os.path.isdir(self._folder):
            return self._folder
        from huggingface_hub import try_to_load_from_cache

        # A name without its owner is taken for one of the library's own models.
        for name in (self.name, f"sentence-transformers/{self.name}"):
            for file in ("modules.json", "config.json"):
                try:
                    found = try_to_load_from_cache(name, file)
                except ValueError:  # no name that the hub knows, which loading says better
                    break
                if isinstance(found, str):
                    return os.path.dirname(found)
        return None

    def load(self) -> None:
        """Load the model if it is not loaded; CheckpointError or DownloadError where that fails, MissingExtra."""
        if self._model is not None:
            return
        if not os.path.isdir(self._folder) and self.name.startswith(("/", ".", "~")):
            raise CheckpointError(
                f"{self.name}: no such folder; give a model's folder, or its name on Hugging Face"
            )
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtra("a model of sentence-transformers", "train") from error
        here, local = os.path.isdir(self._folder), self._local_folder()
        if not here and local is None:
            refuse_known(self.name)
        try:
            model = SentenceTransformer(
                self._folder if here else self.name,
                device=self._device,
                # The commit that is here already and that the fingerprint names, whatever the hub has by now.
                revision=None if here or local is None else os.path.basename(local),
                trust_remote_code=False,
            )
        # Other people's loading code, on anybody's folder: whatever it raises, this model can't be scored.
        except Exception as error:
            raise self._refused(error) from error
        model.truncate_dim = None
        model.eval()
        self._model = model

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one unit row a text, (n, dim) float32, made by the model's encode_query."""
        from sentence_transformers.base.modality import infer_modality

        # A text that looks like a picture's address is one to the library, which then fetches it.
        plain = all(infer_modality(text) == "text" for text in texts)
        return self._encode("encode_query", list(texts) if plain else [{"text": text} for text in texts])

    def encode_pictures(self, pictures: Sequence[RGB]) -> Vectors:
        """Return one unit row a picture, (n, dim) float32, made by the model's encode_document."""
        from PIL import Image

        return self._encode("encode_document", [Image.fromarray(picture) for picture in pictures])

    def close(self) -> None:
        """Let go of the model's memory."""
        self._model = None

    def _encode(self, method: str, inputs: list[Any]) -> Vectors:
        self.load()
        try:
            rows = getattr(self._model, method)(
                inputs, batch_size=self._batch_size, show_progress_bar=False, normalize_embeddings=True
            )
        except (ValueError, TypeError, KeyError, ImportError) as error:  # it takes no pictures, for example
            raise CheckpointError(f"{self.name}: {method} failed: {error_line(error)}") from error
        vectors = np.asarray(rows, np.float32)
        if not np.isfinite(vectors).all():
            raise CheckpointError(
                f"{self.name}: {method} returned NaN or infinity; this model can't be evaluated"
            )
        return vectors

    def _refused(self, error: Exception) -> CheckpointError | DownloadError:
        reason = error_line(error)
        if "torchvision" in str(error).lower():
            return CheckpointError(
                f"{self.name} needs torchvision in this environment: pip install torchvision"
            )
        if "trust_remote_code" in str(error):
            return CheckpointError(
                f"{self.name} needs custom code, which imgsearch does not run; it can't be evaluated here"
            )
        if not os.path.isdir(self._folder) and isinstance(error, OSError):
            return DownloadError(f"{self.name} could not be downloaded: {reason}")
        return CheckpointError(f"{self.name} can't be loaded by sentence-transformers: {reason}")


def _files_digest(folder: str) -> str:
    digest = hashlib.sha256()
    for directory, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(directory, name)
            # A link to nowhere, as an unfinished download leaves it, is no file: loading says what lacks.
            if name.startswith(".") or name.lower().endswith(".md") or not os.path.isfile(path):
                continue
            try:
                with open(path, "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    starts = [0] if size <= _WHOLE else [0, size // 2, size - _SAMPLE]
                    length = _WHOLE if size <= _WHOLE else _SAMPLE
                    samples = b"".join(os.pread(file.fileno(), length, start) for start in starts)
            except OSError as error:
                raise CheckpointError(f"{path} can't be read: {error_line(error)}") from error
            part = f"{os.path.relpath(path, folder)}\0{size}\0".encode("utf-8", "surrogatepass") + samples
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _parameters(folder: str) -> int | None:
    """Count the numbers in a model's safetensors files, from their headers; None if there are none."""
    count = 0
    for path in glob.glob(os.path.join(glob.escape(folder), "**", "*.safetensors"), recursive=True):
        try:
            with open(path, "rb") as file:
                header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 100_000_000)))
            count += sum(math.prod(header[name]["shape"]) for name in header if name != "__metadata__")
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return count or None


=======
>>>>>>> a785a71 (Models of other families by sentence-transformers, on the same road)
Side = Literal["query", "document"]


class OwnModel:
    """A model as an index uses it, at all of its dimensions, loaded on first use."""

    peer = False

    def __init__(
        self,
        options: ModelOptions,
        *,
        instructions: Sequence[str | None] = (None,),
        batch_size: int = BATCH_SIZE,
        reporter: Reporter,
    ) -> None:
        """Find the checkpoint and its settings; the model itself is not loaded. Raises as choose_spec does."""
        from imgsearch.model.runtime import choose

        found = fetch_checkpoint(options.model, options.revision, reporter, force_model=options.force_model)
        conventions = conventions_of(found)
        # Vectors are made at full length, whatever the checkpoint's default is: every table is cut from them.
        plain = replace(options, instruction=None, dim=conventions.full_dim)
        self._checkpoint, spec = found, spec_of(found, plain, reporter)
        self._spec = spec
        self._choice, self._batch_size, self._reporter = plain, batch_size, reporter
        # An instruction here is the query side's alone: pictures keep the model's own.
        self._prompts = {
            instruction: spec.query_prompt
            if instruction is None
            else spec_of(found, replace(plain, instruction=instruction), Silent()).query_prompt
            for instruction in instructions
        }
        self._conventions = [conventions.verbatim, conventions.generation_prompt, conventions.max_length]
        self._encoder: ImageEncoder | None = None
        self.name = self._checkpoint.name
        self.full_dim: int | None = conventions.full_dim
        self.dims = conventions.matryoshka_dims
        self.pixels: int | None = None if spec.own_pixels else spec.pixels.max_pixels
        self.dtype: str | None = choose(options.device, options.dtype).dtype
        self.instructions = tuple(instructions)

    @property
    def parameters(self) -> int | None:
        """How many parameters the checkpoint's files hold."""
        return self._checkpoint.info.parameters

    def space(self, side: Side, instruction: str | None) -> dict[str, object]:
        """Return checkpoint, prompt, dtype and, for pictures, the pixel budget."""
        spec = self._spec
        prompt = self._prompts[instruction] if side == "query" else spec.document_prompt
        space: dict[str, object] = {"model": spec.fingerprint, "prompt": prompt, "dtype": self.dtype}
        space["conventions"] = self._conventions
        if side == "document":
            space["pixels"] = [spec.pixels.min_pixels, spec.pixels.max_pixels]
        return {"side": side, **space}

    def query_vectors(self, texts: Sequence[str], instruction: str | None) -> Iterator[Vectors]:
        """Yield (batch, full_dim) rows of texts under the query prompt."""
        encoder = self._loaded()
        for batch in batches(texts, self._batch_size):
            inputs = [Input(text=text, instruction=self._prompts[instruction]) for text in batch]
            try:
                rows = encoder.embed(inputs, batch_size=self._batch_size)
            except InputError:
                self._name_culprit(inputs)
                raise
            yield rows

    def picture_vectors(self, refs: Sequence[PictureRef]) -> Iterator[Vectors]:
        """Yield (batch, full_dim) rows of pictures under the document prompt."""
        encoder = self._loaded()
        spec = self._spec
        patches = decode_each(refs, spec.pixels, encoder.prepare, ahead=2 * self._batch_size)
        for batch in batches(patches, self._batch_size):
            inputs = [Input(image=image, instruction=spec.document_prompt) for image in batch]
            yield encoder.embed(inputs, batch_size=self._batch_size)

    def close(self) -> None:
        """Let go of the model's memory."""
        self._encoder = None

    def _name_culprit(self, inputs: Sequence[Input]) -> None:
        """Raise DatasetError with the first text that can't be embedded, which a position in a batch does not tell."""
        for asked in inputs:
            try:
                self._loaded().embed([asked])
            except InputError as error:
                query = textwrap.shorten(asked.text or "", 80)
                raise DatasetError(f"the query {query!r}: ", error.as_message) from error

    def _loaded(self) -> ImageEncoder:
        if self._encoder is None:
            self._encoder = load_local_encoder(self._checkpoint, self._spec, self._choice, self._reporter)
        return self._encoder


class LibraryModel(OwnModel):
    """A peer: a model by sentence-transformers, whatever its family, with its own prompts, pixels and full length.

    It is the adapter by which such models are indexed, so that both give the same vectors.
    """

    peer = True

    def __init__(
        self, name: str, *, device: str = "auto", batch_size: int = BATCH_SIZE, reporter: Reporter
    ) -> None:
        """Find the model, which is loaded on first use. Raises as ``fetch_checkpoint``, and MissingExtra."""
        if not name.strip():
            raise CheckpointError(
                "the peer's name is empty; give a model's folder, or its name on Hugging Face"
            )
        self._version = version()
        # A name without its owner is taken for one of the library's own models.
        alone = "/" not in name and not os.path.isdir(name)
        wanted = f"sentence-transformers/{name}" if alone else name
        found = fetch_checkpoint(wanted, None, reporter, force_model=True)
        self._checkpoint = checkpoint = LibraryCheckpoint(found.folder, found.name, found.reason)
        self._settings = {key: checkpoint.own_settings.get(key) for key in ("prompts", "truncate_dim")}
        self._choice = ModelOptions(model=wanted, device=device, force_model=True)
        self._batch_size, self._reporter = batch_size, reporter
        self._encoder: ImageEncoder | None = None
        self.name = name
        self.full_dim: int | None = None
        self.dims: tuple[int, ...] = ()
        self.pixels: int | None = None
        self.dtype: str | None = None
        self.instructions: tuple[str | None, ...] = (None,)

    def space(self, side: Side, instruction: str | None) -> dict[str, object]:
        """Return the model's files, which hold its settings, its prompts, and the library that computes it."""
        made_by = f"sentence-transformers {self._version}"
        known = {"model": self._checkpoint.fingerprint, "settings": self._settings}
        return {"side": side, **known, "made_by": made_by}

    def _loaded(self) -> ImageEncoder:
        if self._encoder is None:
            self._reporter.say(
                f"{os.path.basename(self.name.rstrip('/'))}: with sentence-transformers {self._version}"
            )
            full = conventions_of(self._checkpoint).full_dim
            self._spec = spec_of(self._checkpoint, replace(self._choice, dim=full), Silent())
            self._prompts = {None: self._spec.query_prompt}
        return super()._loaded()


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of ``size`` items, the last one shorter."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
