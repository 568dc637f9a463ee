"""The recipe on sentence-transformers' trainer: model, loss, arguments, progress, and what its failures mean."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import time
from typing import Any

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sentence_transformer.training_args import (
    BatchSamplers,
    SentenceTransformerTrainingArguments,
)
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from imgsearch.errors import TrainingError
from imgsearch.machine import cores
from imgsearch.model.prompt import PromptEncoder
from imgsearch.model.reference import load_model
from imgsearch.model.runtime import use_cores
from imgsearch.text import Message, Option, format_duration, format_rate
from imgsearch.tools.dataset.retrieval import RetrievalDataset
from imgsearch.tools.training import run_dir
from imgsearch.tools.training.data import Examples, Pictures, as_table
from imgsearch.tools.training.export import write_weights
from imgsearch.tools.training.options import SCHEDULES, ResolvedOptions, TrainOptions, choose_attention
from imgsearch.tools.training.st_module import Qwen3VLInput
from imgsearch.types import Reporter, Runtime

_WEIGHTS = "model.safetensors"


def build_model(module: Qwen3VLInput, device: str) -> SentenceTransformer:
    """Put the input module before sentence-transformers' own last-token pooling and normalisation."""
    pooling = Pooling(module.get_embedding_dimension(), pooling_mode="lasttoken")
    return SentenceTransformer(modules=[module, pooling, Normalize()], device=device)


def build_loss(
    model: SentenceTransformer, dims: tuple[int, ...], options: TrainOptions
) -> tuple[MatryoshkaLoss, str]:
    """Return the Matryoshka loss over in-batch and hard negatives, equally weighted, and which form it takes.

    With a mini-batch as large as the batch there is nothing to cache: the plain loss has the same gradients
    and runs the model once a step instead of twice.
    """
    inner: torch.nn.Module
    # One cross entropy for each way, of which the mean is the loss.
    ways: dict[str, Any] = {"partition_mode": "per_direction"} if options.symmetric else {}
    if options.symmetric:
        ways["directions"] = ("query_to_doc", "doc_to_query")
    if options.mini_batch >= options.batch_size:
        inner = MultipleNegativesRankingLoss(model, scale=options.scale, **ways)
        how = "the whole batch at once, without gradient cache"
    else:
        inner = CachedMultipleNegativesRankingLoss(
            model, scale=options.scale, mini_batch_size=options.mini_batch, **ways
        )
        how = Message(f"gradient cache, {options.mini_batch} inputs at a time (", Option("mini_batch"), ")")
    return MatryoshkaLoss(model, inner, matryoshka_dims=list(dims)), how


def build_arguments(
    options: TrainOptions, folder: str, device: str, total: int, workers: int
) -> SentenceTransformerTrainingArguments:
    """Translate the options; ``folder`` is where the trainer keeps its own checkpoints, ``total`` the steps.

    Lower precision is the input module's own affair, and evaluation the progress callback's.
    """
    arguments = SentenceTransformerTrainingArguments(
        output_dir=folder,
        num_train_epochs=options.epochs,
        max_steps=options.steps or -1,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup,
        lr_scheduler_type=SCHEDULES[options.schedule],
        weight_decay=options.weight_decay,
        use_cpu=device == "cpu",
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        dataloader_drop_last=True,  # a short last batch would have fewer negatives
        dataloader_num_workers=workers,
        dataloader_pin_memory=device.startswith("cuda"),
        seed=options.seed,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=options.save_steps or max(1, total // 10),
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=options.log_steps,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # more would be split by DataParallel, and batches with them
    return arguments


class Trainer(SentenceTransformerTrainer):
    """sentence-transformers' trainer, quiet, with checkpoints that hold the weights as safetensors.

    Beside them the optimizer's state is torch's own format, which transformers reads back with
    ``weights_only=True``: no pickle that could run code is ever loaded, and none is written.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Take what the library's trainer takes."""
        silence()
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next batches; none after the last step, which transformers would exceed by one.

        It does so where a run that was stopped between its last step and its end is resumed.
        """
        if self.state.global_step >= self.state.max_steps:
            return [], None
        return super().get_batch_samples(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Make one step; TrainingError if the loss is no number any more."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if not math.isfinite(float(loss)):
            raise TrainingError(self._diverged("the loss"))
        return loss

    def _diverged(self, what: str) -> Message:
        return Message(
            f"training diverged at step {self.state.global_step + 1} ({what} is not finite): lower ",
            Option("learning_rate"),
            f" (now {self.args.learning_rate:g}), or raise ",
            Option("warmup"),
            f". Earlier checkpoints are in {self.args.output_dir}",
        )

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        assert self.model is not None
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            raise TrainingError(self._diverged("a weight"))
        os.makedirs(output_dir, exist_ok=True)
        write_weights(os.path.join(output_dir, _WEIGHTS), self.model, torch.float32)

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        weights = load_file(os.path.join(checkpoint_path, _WEIGHTS))
        assert self.model is not None
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(weights[name])

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Leave the library's model card out: ours is written at the end."""


def silence() -> None:
    """Keep the libraries' own talk away: what there is to say goes through the reporter."""
    for name in ("sentence_transformers", "transformers", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


METRIC = "ndcg@10"


class Measure:
    """NDCG@10 of the model as it is, by sentence-transformers' own evaluator."""

    def __init__(self, data: RetrievalDataset, pictures: Pictures, batch_size: int) -> None:
        """Take the queries, the pictures by number, and the judgements of ``data``."""
        self.name = data.name
        self._evaluator = InformationRetrievalEvaluator(
            queries=dict(data.queries),
            corpus={doc: pictures.number(ref) for doc, ref in data.corpus.items()},
            relevant_docs={query: set(docs) for query, docs in data.relevant.items()},
            batch_size=batch_size,
            write_csv=False,
        )

    def __call__(self, model: SentenceTransformer) -> float:
        """Return NDCG@10; the model is left in the mode, training or not, that it was in."""
        training = model.training
        try:
            scores = self._evaluator(model)
        finally:
            model.train(training)
        return float(scores[f"cosine_{METRIC}"])


class Progress(TrainerCallback):
    """Tells the reporter how the run goes, and measures the model every ``eval_steps`` steps and at the ends.

    What it measures goes into the trainer's log, so that a resumed run still has it.
    """

    def __init__(
        self, reporter: Reporter, measure: Measure | None, eval_steps: int, pictures_a_step: int
    ) -> None:
        """Take the reporter, what to measure with (None: nothing), and how many pictures a step embeds."""
        self._reporter, self._measure = reporter, measure
        self._eval_steps, self._pictures_a_step = eval_steps, pictures_a_step
        self._busy = self._began = 0.0
        self._steps = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the model as it comes."""
        if state.global_step == 0:
            self._look(state, kwargs["model"])

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock, which measuring and saving do not run on."""
        self._began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop the clock; measure if it is time."""
        self._busy += time.monotonic() - self._began
        self._steps += 1
        if state.global_step % self._eval_steps == 0 or state.global_step == state.max_steps:
            self._look(state, kwargs["model"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the result, also where batches ran out before the last step."""
        self._look(state, kwargs["model"])

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Say how far the run is, and keep how long the steps took: the sum is that of the run, resumed or not."""
        if not logs or "loss" not in logs or not self._steps:
            return
        state.log_history[-1]["seconds"] = round(self._busy, 3)
        a_step = self._busy / self._steps
        self._reporter.say(
            f"step {state.global_step:,} of {state.max_steps:,}: loss {logs['loss']:.4f}, "
            f"lr {logs.get('learning_rate', 0.0):.3g}, {format_rate(self._pictures_a_step / max(a_step, 1e-9))} "
            f"images/s, {format_duration(a_step * (state.max_steps - state.global_step))} left"
        )
        self._busy, self._steps = 0.0, 0

    def _look(self, state: TrainerState, model: SentenceTransformer) -> None:
        """Measure, say so, and keep it in the log."""
        if self._measure is None or any(
            METRIC in entry and entry["step"] == state.global_step for entry in state.log_history
        ):
            return
        score = self._measure(model)
        state.log_history.append({"step": state.global_step, METRIC: score})
        self._reporter.say(f"step {state.global_step:,}: NDCG@10 {score:.4f} on {self._measure.name}")


def build_trainer(
    examples: Examples,
    measured: RetrievalDataset | None,
    pictures: Pictures,
    resolved: ResolvedOptions,
    options: TrainOptions,
    out: str,
    reporter: Reporter,
) -> Trainer:
    """Load the model and put the recipe together around it.

    ``measured`` is what the model is measured on before, during and after, None for nothing; ``pictures`` holds
    its pictures too. Raises DatasetError for a query that the model can't take.
    """
    use_cores()
    measure = Measure(measured, pictures, options.mini_batch) if measured else None
    module = _input_module(pictures, resolved, options)
    whole = build_model(module, resolved.device)
    loss, how = build_loss(whole, resolved.dims, options)
    reporter.say(how)
    total = options.steps or math.ceil(options.epochs * (len(examples.examples) // options.batch_size))
    # Only a forked process shares the model's input module: elsewhere pictures are decoded between the steps.
    forked = multiprocessing.get_start_method() == "fork"
    workers = min(8, max(1, cores.usable().count - 1)) if forked and not pictures.in_memory else 0
    arguments = build_arguments(
        options, os.path.join(out, run_dir.CHECKPOINTS), resolved.device, total, workers
    )
    a_step = options.batch_size * (1 + examples.negatives)
    progress = Progress(reporter, measure, options.eval_steps or max(1, total // 10), a_step)
    trainer = Trainer(
        model=whole,
        args=arguments,
        train_dataset=as_table(examples, pictures),
        loss=loss,
        callbacks=[progress],
    )
    queries = [one.query for one in examples.examples]
    module.check_texts([*queries, *(measured.queries.values() if measured else ())])
    return trainer


def _input_module(pictures: Pictures, resolved: ResolvedOptions, options: TrainOptions) -> Qwen3VLInput:
    """Load the model with float32 master weights, ready to be trained, behind its prompts and pictures."""
    checkpoint, layout = resolved.checkpoint, resolved.layout
    model = load_model(checkpoint, Runtime(resolved.device, "float32", "master weights"))
    model.requires_grad_(True)
    if options.gradient_checkpointing:
        # transformers renamed it in the course of version 5.
        new, old = "activation_checkpointing_enable", "gradient_checkpointing_enable"
        getattr(model, new if hasattr(model, new) else old)({"use_reentrant": False})
    return Qwen3VLInput(
        model,
        PromptEncoder(checkpoint),
        layout,
        pictures.patches,
        *resolved.prompts,
        attention=choose_attention(
            resolved.device, resolved.precision, resolved.budget.max_pixels // layout.patch**2
        ),
        precision=resolved.precision,
    )
