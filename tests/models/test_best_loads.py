"""best.pt of a run is a state dict of the plain network by the same name, and says what it says."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

import precompute.run
import train.run
from shared.models.staged import StagedModel
from tests.helpers import write_image_folder, write_teacher
from tests.models.own_networks import write_network
from tests.runs import load, require_equal
from train.checkpoint import load_student, run_of

timm = pytest.importorskip("timm")
CLASSES, SIZE = 3, 32


class Cifar(nn.Module):
    """cifar_resnet20, written as torchvision writes its ResNets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            self.stage(16, 16), self.stage(16, 32), self.stage(32, 64),
        )  # fmt: skip
        self.fc = nn.Linear(64, CLASSES)

    def stage(self, width: int, wanted: int) -> nn.Module:
        stride, shortcut = wanted // width, None
        if stride > 1:
            conv = nn.Conv2d(width, wanted, 1, stride, bias=False)
            shortcut = nn.Sequential(conv, nn.BatchNorm2d(wanted))
        first = BasicBlock(width, wanted, stride, shortcut)
        return nn.Sequential(first, BasicBlock(wanted, wanted), BasicBlock(wanted, wanted))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


PLAIN: dict[str, Callable[[], nn.Module]] = {
    "cifar_resnet20": Cifar,
    "mobilenet_v3_small": lambda: torchvision.models.mobilenet_v3_small(num_classes=CLASSES),
    "timm/test_convnext": lambda: timm.create_model("test_convnext", num_classes=CLASSES),
    "timm/test_vit": lambda: timm.create_model("test_vit", num_classes=CLASSES, img_size=SIZE),
}


def call(main: Callable[[], int], *arguments: object) -> None:
    """A command in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
        assert main() == 0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("best")
    write_image_folder(folder / "images", CLASSES, train=6, val=4)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    call(
        precompute.run.main,
        *("--split", "train", "--device", "cpu", "--workers", 0),
        *("--images", folder / "images", "--teacher", "cifar_resnet20", "--views", 1),
        *("--weights", folder / "teacher.pt", "--size", SIZE, "--cache", folder / "cache"),
    )
    return folder / "cache"


Train = Callable[..., Path]


@pytest.fixture
def run(cache: Path, tmp_path: Path) -> Train:
    """train/run.py in this process, two steps; returns the run folder."""

    def train_one(student: object, *flags: object) -> Path:
        folder = tmp_path / "run"
        arguments = ("--cache", cache, "--student", student, "--out", folder, *flags)
        arguments += ("--epochs", 1, "--batch-size", 9, "--workers", 0, "--device", "cpu")
        call(train.run.main, *arguments)
        return folder

    return train_one


@torch.no_grad()
def require_same_outputs(loaded: StagedModel, plain: nn.Module) -> None:
    x = torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    logits = plain.eval().to(memory_format=torch.channels_last)(x)
    assert logits.std() > 1e-4
    assert torch.equal(loaded.eval()(x), logits)


@pytest.mark.parametrize(
    "student",
    [
        "cifar_resnet20",
        "timm/test_convnext",
        pytest.param("timm/test_vit", marks=pytest.mark.slow),
        "mobilenet_v3_small",
        pytest.param("small", marks=pytest.mark.slow),
        "staged",
    ],
)
def test_best_pt_is_the_plain_networks(student: str, run: Train, tmp_path: Path) -> None:
    if student in PLAIN:
        folder, network = run(student), PLAIN[student]()
    else:
        path = write_network(tmp_path)
        folder, network = run(f"{path}:{student}"), runpy.run_path(str(path))[student](CLASSES)
    new = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(load(folder / "best.pt"), strict=True)
    assert any(not torch.equal(value, new[name]) for name, value in network.state_dict().items())
    for name in ("best.pt", "last.pt"):
        checkpoint = folder / name
        loaded = load_student(checkpoint, run_of(checkpoint)["model"])
        require_same_outputs(loaded, network)


@pytest.mark.parametrize(
    "student", [pytest.param("mobilenet_v3_small", marks=pytest.mark.slow), "timm/test_convnext"]
)
def test_averaged_weights_are_the_plain_networks_too(student: str, run: Train) -> None:
    folder = run(student, "--ema", 0.9)
    best, last = load(folder / "best.pt"), load(folder / "last.pt")
    network = PLAIN[student]()
    network.load_state_dict(best, strict=True)
    loaded = load_student(folder / "last.pt", run_of(folder / "last.pt")["model"])
    require_equal(dict(loaded.network.state_dict()), dict(best))
    require_same_outputs(loaded, network)
    backbone = "backbone._network."
    own = {
        name.removeprefix(backbone): value
        for name, value in last["student"].items()
        if name.startswith(backbone)
    }
    assert own.keys() == best.keys()  # the weights themselves, which are others
    assert any(not torch.equal(own[name], best[name]) for name in best)
