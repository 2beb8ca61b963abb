"""What the teacher said about some samples, under names: what users of shared/cache.py get.

Shapes: B samples; without B for a single sample of a ViewDataset. C classes, C_s channels in the
teacher's stage s.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


class TeacherTargets(dict[str, Tensor]):
    """Name -> tensor.

        "logits", "channels", ...   the kinds of targets that were asked for, float32: (B, C),
                                    (B, sum of C_s), ... (shared/targets/kinds.py)
        "guided"    (B,) bool: whether the teacher is right, and its logits may guide the student
        "index"     (B,) int64: the samples, by their place in the source
        "partner"   (B,) int64 and
        "share"     (B,) float32, if views are mixed of two images (MixUp, CutMix): the label of
                    the second image, and the weight of the first one

    `guided` is missing where an image has two labels, or the teacher has other classes than the
    images. It is a dict, so torch's DataLoader puts those of single samples together.
    """

    stages: tuple[int, ...]  # C_s of each stage

    def __init__(self, values: Mapping[str, Tensor], stages: tuple[int, ...]) -> None:
        super().__init__(values)
        self.stages = stages

    def __missing__(self, name: str) -> Tensor:
        raise KeyError(
            f"there are no targets {name!r}: these are {', '.join(self)}; ask for other kinds with "
            f"targets=[...], and see cache.kinds for those that the cache can give"
        )

    @property
    def logits(self) -> Tensor:
        """(B, C) float32. They are defined up to a constant per sample, as softmax is."""
        return self["logits"]

    @property
    def channels(self) -> tuple[Tensor, ...]:
        """(B, C_s) float32 for each stage: the mean of every channel of its output."""
        found: tuple[Tensor, ...] = self["channels"].split(list(self.stages), dim=-1)
        return found

    @property
    def embedding(self) -> Tensor:
        """(B, D) float32: what the teacher's last layer reads."""
        return self["embedding"]

    @property
    def guided(self) -> Tensor:
        """(B,) bool: whether the teacher is right."""
        return self["guided"]

    @property
    def index(self) -> Tensor:
        """(B,) int64: the samples, by their place in the source."""
        return self["index"]

    @property
    def partner(self) -> Tensor:
        """(B,) int64: the label of the second image of a mixed view."""
        return self["partner"]

    @property
    def share(self) -> Tensor:
        """(B,) float32: the weight of the first label, 0 to 1; the second has the rest."""
        return self["share"]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "TeacherTargets":
        moved = {
            name: values.to(device, non_blocking=non_blocking) for name, values in self.items()
        }
        return TeacherTargets(moved, self.stages)
