"""The digest of a network's weights: of names, shapes and values, and of nothing else."""

from pathlib import Path

import pytest
import torch
from torch import nn

from shared.models.weights import load_weights, weights_digest
from tests.helpers import write_teacher
from tests.networks import State, staged


def test_digest_is_of_the_values_alone(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        write_teacher(tmp_path / name, "cifar_resnet20", 5, seed=3)
    models = [staged(), staged(), staged()]
    load_weights(models[0], str(tmp_path / "a.pt"))
    load_weights(models[1], str(tmp_path / "b.pt"))
    models[2].load_state_dict(models[0].state_dict())
    models[2].requires_grad_(False).eval().to(memory_format=torch.channels_last)
    digests = {weights_digest(model) for model in models}
    assert len(digests) == 1
    assert len(digests.pop()) == 64
    write_teacher(tmp_path / "a.pt", "cifar_resnet20", 5, seed=4)
    load_weights(models[1], str(tmp_path / "a.pt"))
    assert weights_digest(models[0]) != weights_digest(models[1])


@pytest.mark.parametrize(
    "entry", ["conv1.weight", "layer3.1.bn2.running_var", "bn1.num_batches_tracked", "fc.bias"]
)
def test_digest_changes_with_one_value(entry: str) -> None:
    model = staged()
    before = weights_digest(model)
    value = model.state_dict()[entry]
    value = (value.permute(0, 2, 3, 1) if value.dim() == 4 else value).view(-1)
    old = value[-1].clone()
    bits = value.view(torch.int32) if value.dtype == torch.float32 else value
    bits[-1] ^= 1
    assert weights_digest(model) != before
    value[-1] = old
    assert weights_digest(model) == before


def test_digest_tells_names_and_shapes_apart() -> None:
    def digest(state: State) -> str:
        module = nn.Module()
        for name, value in state.items():
            module.register_buffer(name, value)
        return weights_digest(module)

    some = torch.arange(6.0)
    states = [
        {"a": some},
        {"b": some},
        {"a": some.view(2, 3)},
        {"a": some[:4], "b": some[4:]},
        {"a": some[:2], "b": some[2:]},
        {"a": some.view(torch.int32)},
    ]
    assert len({digest(state) for state in states}) == len(states)
    assert digest({"a": some, "b": some[:1]}) == digest({"b": some[:1], "a": some})
