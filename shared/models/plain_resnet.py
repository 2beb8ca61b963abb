"""What the ResNets of torchvision and of CIFAR have in common: a stem, stages, a mean and a linear
layer."""

import torch
from torch import Tensor, nn

from shared.models.staged import AtStage, Run, StagedModel, channel_means, keep


class PlainResNet(StagedModel):
    conv1: nn.Conv2d
    bn1: nn.Module
    relu: nn.Module
    fc: nn.Linear
    pooled = True
    signed = False  # every stage ends with a ReLU
    is_linear = True

    @property
    def last_layer(self) -> nn.Linear:
        return self.fc

    def enter(self, x: Tensor) -> Tensor:
        """Everything before the first stage."""
        raise NotImplementedError

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The stages, in order; each reads the output of the one before."""
        raise NotImplementedError

    def run(self, x: Tensor, at_stage: AtStage = keep) -> Run:
        x = self.enter(x)
        stages = []
        for stage, layer in enumerate(self.layers):
            x = layer(x)
            stages.append(at_stage(stage, x))
        embedding = channel_means(x)
        return Run(tuple(stages), embedding, self.fc(embedding))

    def _finish(self, architecture: str, num_classes: int, stem: str) -> None:
        # The layout of the pixels (shared/pixels/view.py), so that no layer has to convert its
        # input: a step takes 0.8 of the time (tests/bench/step.py, CPU).
        self.to(memory_format=torch.channels_last)
        self.architecture = architecture
        self.stem = stem
        self.num_classes = num_classes
        self.embedding_width = self.channels[-1]
