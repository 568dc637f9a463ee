"""The recipe on sentence-transformers' trainer: model, loss, arguments, and the trainer with safe checkpoints."""

from __future__ import annotations

import logging
import math
import os
from typing import Any

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.base.modules import Normalize
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
from transformers import PrinterCallback

from imgsearch.errors import TrainingError
from imgsearch.training.module import Qwen3VLInput
from imgsearch.training.options import SCHEDULES, TrainOptions
from imgsearch.training.saving import write_weights

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
    if options.mini_batch >= options.batch_size:
        inner = MultipleNegativesRankingLoss(model, scale=options.scale)
        how = "the whole batch at once, without gradient cache"
    else:
        inner = CachedMultipleNegativesRankingLoss(
            model, scale=options.scale, mini_batch_size=options.mini_batch
        )
        how = f"gradient cache, {options.mini_batch} inputs at a time (--mini-batch)"
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
            raise TrainingError(self._diverged("the loss is"))
        return loss

    def _diverged(self, what: str) -> str:
        return (
            f"{what} no number any more at step {self.state.global_step + 1}: the steps are too long; lower --lr "
            f"(it is {self.args.learning_rate:g}), or raise --warmup. What was saved before stands in "
            f"{self.args.output_dir}"
        )

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        assert self.model is not None
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            raise TrainingError(self._diverged("the weights are"))
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
