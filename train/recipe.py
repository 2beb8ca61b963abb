"""The Recipe type: loss terms with weights, and all hyper-parameters that change the numbers."""

from dataclasses import dataclass, replace
from typing import Literal

from shared.epochs.guide import Guide
from shared.errors import InputError
from shared.targets.kinds import OF_THE_RUN
from train.composition import Kind
from train.losses.loss import Loss
from train.schedule import Schedule


@dataclass(frozen=True)
class Term:
    """weight(epoch) * loss, logged under `name`."""

    name: str
    loss: Loss
    weight: Schedule


@dataclass(frozen=True)
class Recipe:
    name: str
    terms: tuple[Term, ...]
    guide: Guide | None  # None if no term is guided
    epochs: int
    batch_size: int  # per optimizer step, over all processes
    learning_rate: Schedule
    momentum: float
    weight_decay: float
    stem: Literal["imagenet", "cifar"]
    policy: Literal["random-resized-crop", "pad-crop"]  # how views are drawn without a cache
    size: int  # side of the input in pixels, without a cache
    teacher: str | None  # architecture; None if no term needs a teacher
    student: str
    paper_top1_error: float | None  # percent; None if the paper does not have this run
    ema: float | None = None  # decay per step of averaged weights, which are evaluated; None: off
    optimizer: Literal["sgd", "adamw"] = "sgd"
    nesterov: bool = False  # SGD's
    betas: tuple[float, float] = (0.9, 0.999)  # AdamW's, in place of momentum
    decay_norms: bool = True  # weight decay for norms and biases too, as in the paper's code
    composition: Kind | None = None  # see train/composition.py; None: the student's network itself
    augment: str | None = None  # as precompute/run.py --augment; with a cache, it must be the same

    @property
    def needs(self) -> frozenset[str]:
        """What the terms need, see `Loss.needs`."""
        return frozenset[str]().union(*(term.loss.needs for term in self.terms))

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of targets among `needs`."""
        return self.needs - OF_THE_RUN

    @property
    def reads_logits(self) -> bool:
        """Whether a term or the guide reads the teacher's logits, which may be costly to derive."""
        return "logits" in self.needs or self.guide is not None

    def weights(self, epoch: int) -> dict[str, float]:
        return {term.name: term.weight(epoch) for term in self.terms}

    def scaled(self, epochs: int) -> "Recipe":
        """The recipe for a run of `epochs` epochs, with all milestones moved in proportion."""
        if epochs < 1:
            raise InputError(f"--epochs must be 1 or more: got {epochs}")
        terms = tuple(replace(t, weight=t.weight.scaled(epochs, self.epochs)) for t in self.terms)
        learning_rate = self.learning_rate.scaled(epochs, self.epochs)
        return replace(self, epochs=epochs, terms=terms, learning_rate=learning_rate)
