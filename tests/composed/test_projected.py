"""SimKD's network against the same written out: trunk, pool, projector, mean, teacher's head."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, batch_norm, conv2d, relu

from shared.models.build import build_model
from shared.targets.targets import Head
from tests.networks import randomised
from train.composed import build_network
from train.composition import Projection
from train.projected import Projected

CLASSES, WIDTH = 5, 10


def projected(side: int | None = None, signed: bool = False) -> Projected:
    composition = Projection(WIDTH, side, signed)
    model = build_network("cifar_resnet20", CLASSES, "cifar", 32, None, composition)
    assert isinstance(model, Projected)
    model.load_state_dict(randomised(model))
    return model.eval()


def images() -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("side", [None, 8, 5, 20])
@torch.no_grad()
def test_the_same_written_out(side: int | None, signed: bool) -> None:
    model = projected(side, signed)
    state = model.state_dict()
    trunk = build_model("cifar_resnet20", CLASSES)
    trunk.load_state_dict(
        {name[6:]: value for name, value in state.items() if name.startswith("trunk.")}
    )
    *before, x = trunk.eval().run(images()).stages
    if side == 5:  # the trunk's map has 8 pixels a side
        x = adaptive_avg_pool2d(x, 5)
    for place, padding in ((0, 0), (3, 1), (6, 0)):
        x = conv2d(x, state[f"projector.{place}.weight"], padding=padding)
        norm = [state[f"projector.{place + 1}.{name}"] for name in
                ("running_mean", "running_var", "weight", "bias")]  # fmt: skip
        x = batch_norm(x, *norm)
        x = x if signed and place == 6 else relu(x)
    assert state["projector.3.weight"].shape == (WIDTH // 2, WIDTH // 2, 3, 3)
    logits = x.mean((2, 3)) @ state["head.weight"].T + state["head.bias"]

    run = model.run(images())
    for mine, theirs in zip(run.stages, (*before, x), strict=True):
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine, theirs)
    assert bool((x < 0).any()) == model.signed == signed
    torch.testing.assert_close(run.logits, logits)
    assert torch.equal(model(images()), run.logits)
    assert model.linear_head is not None
    assert torch.equal(model.linear_head(run.embedding), run.logits)
    assert tuple(stage.shape[1] for stage in run.stages) == model.channels == (16, 32, WIDTH)
    assert run.embedding.shape[1] == model.embedding_width


def test_the_head_takes_the_teachers_numbers_and_is_frozen() -> None:
    model = projected()
    head = Head(torch.randn(CLASSES, WIDTH), torch.randn(CLASSES))
    model.take_head(head)
    state = model.state_dict()
    assert torch.equal(state["head.weight"], head.weight)
    assert torch.equal(state["head.bias"], head.bias)
    assert not any(value.requires_grad for value in model.head.parameters())


@pytest.mark.parametrize(
    ("name", "stem"), [("cifar_resnet20", "cifar"), ("mobilenet_v3_small", "imagenet")]
)
def test_what_nothing_reads_is_frozen_and_all_else_gets_gradients(name: str, stem: str) -> None:
    model = build_network(name, CLASSES, stem, 32, None, Projection(WIDTH, None, False))
    assert isinstance(model, Projected)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.freeze_unread(32)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    frozen = {key for key, value in model.named_parameters() if not value.requires_grad}
    own = {
        "cifar_resnet20": {"trunk.fc.weight", "trunk.fc.bias"},
        "mobilenet_v3_small": {f"trunk._network.classifier.{layer}.{part}"
                               for layer in (0, 3) for part in ("weight", "bias")},
    }  # fmt: skip
    assert frozen == {"head.weight", "head.bias", *own[name]}
    model.run(images()).logits.square().sum().backward()
    assert {key for key, value in model.named_parameters() if value.grad is None} == frozen
