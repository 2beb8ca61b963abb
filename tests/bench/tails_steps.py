"""What steps of teachers and of students of tails.py have in common, and how both are judged."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from shared.pixels.normalise import NORMALISATIONS

WEIGHT_DECAY, MOMENTUM = 5e-4, 0.9
NORMALISE = NORMALISATIONS["cifar"]


def half_precision(device: torch.device) -> torch.autocast:
    """bf16 on a GPU. A graph must not read casts that were kept before it was captured."""
    on_gpu = device.type == "cuda"
    return torch.autocast(device.type, torch.bfloat16, enabled=on_gpu, cache_enabled=False)


def graphed(
    step: Callable[[], None], kept: Callable[[], list[Tensor]], device: torch.device
) -> Callable[[], object]:
    """`step` as a CUDA graph; what `kept` names is as it was before. On a CPU: `step`."""
    if device.type != "cuda":
        return step
    before = [value.clone() for value in kept()]
    main = torch.cuda.Stream()
    main.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(main):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=main):
        step()
    torch.cuda.synchronize()
    with torch.no_grad():
        for value, old in zip(kept(), before, strict=True):
            value.copy_(old)
    return graph.replay


@torch.no_grad()
def top1(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    hits = 0
    for x, y in zip(images.split(2000), labels.split(2000), strict=True):
        with half_precision(images.device):
            logits = model(NORMALISE(x))
        hits += int((logits.argmax(1) == y).sum())
    return 100 * hits / len(labels)
