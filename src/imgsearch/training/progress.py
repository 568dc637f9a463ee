"""What is said and measured while a run goes on: one line every few steps, and NDCG@10 now and then."""

from __future__ import annotations

import time
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from imgsearch.dataset import RetrievalDataset
from imgsearch.estimate import figure, spoken
from imgsearch.training.pictures import Pictures
from imgsearch.types import Reporter

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
        """Say how far the run is."""
        if not logs or "loss" not in logs or not self._steps:
            return
        a_step = self._busy / self._steps
        self._reporter.say(
            f"step {state.global_step:,} of {state.max_steps:,}: loss {logs['loss']:.4f}, "
            f"lr {logs.get('learning_rate', 0.0):.3g}, {figure(self._pictures_a_step / max(a_step, 1e-9))} "
            f"pictures/s, {spoken(a_step * (state.max_steps - state.global_step))} left"
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
