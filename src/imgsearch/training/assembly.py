"""Puts a run together: the model in its input module, the loss, the arguments and the data, in one trainer."""

from __future__ import annotations

import math
import multiprocessing
import os

from imgsearch.dataset import RetrievalDataset
from imgsearch.model.loading import load_model
from imgsearch.model.prompt import Prompter
from imgsearch.training import folder, recipe
from imgsearch.training.data import Examples, as_table
from imgsearch.training.module import Qwen3VLInput
from imgsearch.training.options import TrainOptions, choose_attention
from imgsearch.training.pictures import Pictures
from imgsearch.training.progress import Measure, Progress
from imgsearch.training.settled import Settled
from imgsearch.types import Reporter, Runtime


def build_trainer(
    examples: Examples,
    measured: RetrievalDataset | None,
    pictures: Pictures,
    settled: Settled,
    options: TrainOptions,
    out: str,
    reporter: Reporter,
) -> recipe.Trainer:
    """Load the model and put the recipe together around it.

    ``measured`` is what the model is measured on before, during and after, None for nothing; ``pictures`` holds
    its pictures too. Raises DatasetError for a query that the model can't take.
    """
    measure = Measure(measured, pictures, options.mini_batch) if measured else None
    module = _input_module(pictures, settled, options)
    whole = recipe.build_model(module, settled.device)
    loss, how = recipe.build_loss(whole, settled.dims, options)
    reporter.say(how)
    total = options.steps or math.ceil(options.epochs * (len(examples.examples) // options.batch_size))
    # Only a forked process shares the model's input module: elsewhere pictures are decoded between the steps.
    forked = multiprocessing.get_start_method() == "fork"
    workers = min(8, max(1, (os.cpu_count() or 2) - 1)) if forked and not pictures.in_memory else 0
    arguments = recipe.build_arguments(
        options, os.path.join(out, folder.CHECKPOINTS), settled.device, total, workers
    )
    a_step = options.batch_size * (1 + examples.negatives)
    progress = Progress(reporter, measure, options.eval_steps or max(1, total // 10), a_step)
    trainer = recipe.Trainer(
        model=whole,
        args=arguments,
        train_dataset=as_table(examples, pictures),
        loss=loss,
        callbacks=[progress],
    )
    queries = [one.query for one in examples.examples]
    module.check_texts([*queries, *(measured.queries.values() if measured else ())])
    return trainer


def _input_module(pictures: Pictures, settled: Settled, options: TrainOptions) -> Qwen3VLInput:
    """Load the model with float32 master weights, ready to be trained, behind its prompter and pictures."""
    source, layout = settled.checkpoint.folder, settled.layout
    model = load_model(source, Runtime(settled.device, "float32", "master weights"))
    model.requires_grad_(True)
    if options.gradient_checkpointing:
        # transformers renamed it in the course of version 5.
        new, old = "activation_checkpointing_enable", "gradient_checkpointing_enable"
        getattr(model, new if hasattr(model, new) else old)({"use_reentrant": False})
    return Qwen3VLInput(
        model,
        Prompter(source, verbatim=True),
        layout,
        pictures.patches,
        *settled.prompts,
        attention=choose_attention(
            settled.device, settled.precision, settled.budget.max_pixels // layout.patch**2
        ),
        precision=settled.precision,
    )
