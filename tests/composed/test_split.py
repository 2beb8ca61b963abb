"""The two halves of a split network: what they compute, and that together they cost no more."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, relu

from shared.errors import InputError
from shared.models.build import build_model
from tests.networks import randomised, staged
from train.composed import build_network
from train.composition import Halves
from train.narrow import Trunk, multiply_adds
from train.split import Split, halves_of

WIDTHS = (6, 7, 9)


def split(signed: bool = False) -> Split:
    halves = Halves((16, 24, 48), (8, 16, 24), WIDTHS, signed)
    model = build_network("cifar_resnet20", 5, "cifar", 32, None, halves)
    assert isinstance(model, Split)
    model.load_state_dict(randomised(model))
    return model.eval()


def images() -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "stem", "widths"),
    [
        ("resnet18", "imagenet", (64, 128, 256, 512)),
        pytest.param("resnet50", "cifar", (64, 128, 256, 512), marks=pytest.mark.slow),
        ("cifar_resnet20", "cifar", (16, 32, 64)),
    ],
)
@torch.no_grad()
def test_a_trunk_of_a_networks_own_widths_has_its_bits(
    name: str, stem: str, widths: tuple[int, ...]
) -> None:
    whole, trunk = staged(name, 5, stem).eval(), Trunk(name, stem, widths).eval()
    whole.load_state_dict(randomised(whole))
    state = {key: value for key, value in whole.state_dict().items() if not key.startswith("fc.")}
    trunk.load_state_dict(state, strict=True)
    trunk.to(memory_format=torch.channels_last)
    for mine, theirs in zip(trunk(images()), whole.run(images()).stages, strict=True):
        assert torch.equal(mine, theirs)
    assert (trunk.channels, trunk.stride) == (whole.channels, whole.stride)


@pytest.mark.parametrize("signed", [False, True])
@torch.no_grad()
def test_the_same_written_out(signed: bool) -> None:
    model = split(signed)
    state = model.state_dict()

    def met(half: str, stage: int, maps: Tensor) -> Tensor:
        name = f"{half}_connectors.{stage}"
        norm = [state[f"{name}.1.{part}"] for part in
                ("running_mean", "running_var", "weight", "bias")]  # fmt: skip
        return batch_norm(conv2d(maps, state[f"{name}.0.weight"]), *norm)

    own = [met("student", s, maps) for s, maps in enumerate(model.student(images()))]
    own = own if signed else [relu(maps) for maps in own]
    residuals = [met("assistant", s, maps) for s, maps in enumerate(model.assistant(images()))]
    sums = [mine + residual for mine, residual in zip(own, residuals, strict=True)]
    logits = sums[-1].mean((2, 3)) @ state["head.weight"].T + state["head.bias"]

    run = model.run(images())
    assert len(run.stages) == 6 and model.channels == WIDTHS * 2
    for found, expected in zip(run.stages, (*own, *sums), strict=True):
        torch.testing.assert_close(found, expected)
    assert bool((own[-1] < 0).any()) == signed and bool((sums[-1] < 0).any())
    torch.testing.assert_close(run.logits, logits)
    assert torch.equal(model(images()), run.logits)
    assert model.linear_head is not None
    assert torch.equal(model.linear_head(run.embedding), run.logits)


class Everything(nn.Module):
    """With the connectors of all stages."""

    def __init__(self, model: Split) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.run(x).logits


def test_multiply_adds_counted_by_hand() -> None:
    with torch.device("meta"):
        layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8),
            nn.Conv2d(8, 4, 1, groups=2), nn.Flatten(), nn.Linear(4 * 16, 5),
        )  # fmt: skip
    assert multiply_adds(layers, 8) == 16 * 8 * 27 + 16 * 4 * 4 + 64 * 5


def test_the_costs_of_a_resnet18() -> None:
    """The numbers in the docstring of train/split.py."""
    halves = halves_of("resnet18", 1000, "imagenet", 224, (64, 128, 256, 512))
    assert halves.student == (56, 112, 224, 448) and halves.assistant == (24, 56, 112, 224)
    with torch.device("meta"):
        whole = multiply_adds(build_model("resnet18", 1000), 224)
        model = Split("resnet18", 1000, "imagenet", halves)
        used, trained = multiply_adds(model, 224), multiply_adds(Everything(model), 224)
        parts = multiply_adds(model.student, 224), multiply_adds(model.assistant, 224)
    assert (whole, used, trained) == (1_814_073_344, 1_762_341_888, 1_812_116_480)
    assert parts[1] / sum(parts) == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize(
    ("name", "stem", "size", "teacher"),
    [
        pytest.param("resnet34", "imagenet", 64, (64, 128, 256, 512), marks=pytest.mark.slow),
        pytest.param("resnet50", "cifar", 32, (256, 512, 1024, 2048), marks=pytest.mark.slow),
        ("cifar_resnet56", "cifar", 32, (16, 32, 64)),
        ("cifar_resnet20", "cifar", 32, (512, 1024, 2048)),
    ],
)
def test_a_split_network_costs_no_more(
    name: str, stem: str, size: int, teacher: tuple[int, ...]
) -> None:
    halves = halves_of(name, 10, stem, size, teacher)
    assert not any(width % 8 for width in (*halves.student, *halves.assistant))
    assert all(mine >= other for mine, other in zip(halves.student, halves.assistant, strict=True))
    with torch.device("meta"):
        whole = multiply_adds(build_model(name, 10, stem), size)
        used = multiply_adds(Split(name, 10, stem, halves), size)
    assert 0.8 * whole < used <= whole


@pytest.mark.slow
def test_a_teacher_too_wide_for_any_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"cifar_resnet20 cannot be split for a teacher .* larger"):
        halves_of("cifar_resnet20", 10, "cifar", 32, (8192, 8192, 8192 * 100))


@pytest.mark.parametrize(
    ("kinds", "trained"),
    [
        ({"channels"}, {0, 1, 2}),
        ({"map1", "logits", "attention2"}, {0, 1, 2}),
        ({"map2", "logits"}, {1, 2}),
        (set(), {2}),
    ],
)
def test_connectors_that_no_loss_reads_are_frozen(kinds: set[str], trained: set[int]) -> None:
    model = split()
    model.freeze_unread(frozenset(kinds))
    for connectors in (model.student_connectors, model.assistant_connectors):
        found = {
            stage
            for stage, connector in enumerate(connectors)
            if all(value.requires_grad for value in connector.parameters())
        }
        assert found == trained
    frozen = [value for value in model.parameters() if not value.requires_grad]
    assert len(frozen) == 6 * (3 - len(trained))
