"""train/run.py --init and --weights: from files as scripts and libraries write them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from shared.errors import InputError
from shared.models.build import build_model
from shared.models.loaded import load_model
from shared.models.weights import weights_digest
from tests.models.made import CLASSES
from tests.models.own_networks import write_network
from tests.networks import State, randomised, save
from train.student import Student, StudentChoice, build_student

timm = pytest.importorskip("timm")
SIZE = 64
# Name: where the last layer is.
STUDENTS = {
    "cifar_resnet20": "fc",
    "mobilenet_v3_small": "classifier.3",
    "timm/test_convnext": "head.fc",
    "timm/test_vit": "head",
}


def student_of(name: str, init: str | None, classes: int = CLASSES) -> Student:
    stem = "cifar" if name.startswith("cifar") else "imagenet"
    return build_student(StudentChoice(name, stem, classes, SIZE, init=init), (4, 8), seed=1)


def state_of(name: str, classes: int = CLASSES) -> State:
    return randomised(build_model(name, classes, size=SIZE).network)


def require_has(student: Student, state: State, without: str = "\0") -> None:
    found = student.backbone.network.state_dict()
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(found[name], value) != name.startswith(without), name


def safetensors(state: State, path: Path) -> str:
    from safetensors.torch import save_file

    save_file(state, path.with_suffix(".safetensors"))
    return str(path.with_suffix(".safetensors"))


def prefixed(state: State) -> State:
    return {f"module.{name}": value for name, value in state.items()}


FILES: dict[str, Callable[[State, Path], str]] = {
    "state dict": lambda state, path: save(path, state),
    "under state_dict": lambda state, path: save(path, {"epoch": 3, "state_dict": state}),
    "under model": lambda state, path: save(path, {"model": state, "args": None}),
    "of DataParallel": lambda state, path: save(path, prefixed(state)),
    "of DataParallel, under ema": lambda state, path: save(path, {"ema": prefixed(state)}),
    "safetensors": safetensors,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_begins_with_the_weights_of_a_file(name: str, tmp_path: Path) -> None:
    state = state_of(name)
    require_has(student_of(name, save(tmp_path / "w.pt", state)), state)


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    state = state_of("timm/test_convnext")
    weights = FILES[kind](state, tmp_path / "w.pth")
    require_has(student_of("timm/test_convnext", weights), state)
    teacher = load_model("timm/test_convnext", weights, None, size=SIZE)
    assert teacher.num_classes == CLASSES
    assert all(torch.equal(teacher.network.state_dict()[k], v) for k, v in state.items())


@pytest.mark.parametrize("name", STUDENTS)
def test_of_other_classes_all_but_the_last_layer_is_taken(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, weights = state_of(name, 10), str(tmp_path / "w.pt")
    save(tmp_path / "w.pt", state)
    head = f"{STUDENTS[name]}."
    student = student_of(name, weights)
    assert capsys.readouterr().err == (
        f"NOTE: {weights} has 10 classes and the student 7: its last layer starts new\n"
    )
    found, new = student.backbone.network.state_dict(), student_of(name, None)
    for entry, value in state.items():
        if entry.startswith(head):
            value = new.backbone.network.state_dict()[entry]
        assert torch.equal(found[entry], value), entry


def test_the_connectors_do_not_depend_on_the_weights(tmp_path: Path) -> None:
    weights = save(tmp_path / "w.pt", state_of("cifar_resnet20"))
    mine, theirs = student_of("cifar_resnet20", weights), student_of("cifar_resnet20", None)
    assert weights_digest(mine.connectors) == weights_digest(theirs.connectors)
    assert weights_digest(mine.backbone) != weights_digest(theirs.backbone)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    weights = save(tmp_path / "w.pt", state_of("timm/test_vit"))
    with pytest.raises(InputError) as caught:
        student_of("timm/test_convnext", weights)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{weights} does not fit timm/test_convnext with 7 classes: it differs")


def test_a_file_that_is_not_there_is_told_with_the_flag() -> None:
    with pytest.raises(
        InputError, match=r"^--init must be a file for .*: there is no 'nowhere\.pt'"
    ):
        student_of("cifar_resnet20", "nowhere.pt")


def test_an_own_networks_weights(tmp_path: Path) -> None:
    name = f"{write_network(tmp_path)}:staged"
    state = state_of(name)
    require_has(student_of(name, save(tmp_path / "w.pt", state)), state)
    weights = save(tmp_path / "others.pt", state_of(name, 3))
    new = student_of(name, weights).backbone.network.state_dict()["fc.weight"]
    assert new.shape == (7, 16)


# ---- local-dir:FOLDER


def folder_of(kind: str, folder: Path, classes: int) -> tuple[nn.Module, str]:
    """A timm model as others have saved it: with its configuration."""
    torch.manual_seed(3)
    network = timm.create_model("test_convnext", num_classes=classes)
    network.load_state_dict(randomised(network, 3))
    if kind == "save_for_hf":
        timm.models.save_for_hf(network, folder, safe_serialization=True)
        return network, f"local-dir:{folder}"
    config = {
        "architecture": "test_convnext",
        "num_classes": classes,
        "pretrained_cfg": {
            "input_size": [3, SIZE, SIZE], "mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.1],
            "interpolation": "bilinear", "crop_pct": 0.8, "num_classes": classes,
            "first_conv": "stem.0", "classifier": "head.fc",
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    return network, f"local-dir:{folder}"


@pytest.mark.parametrize("kind", ["save_for_hf", "by hand"])
def test_a_timm_model_in_a_folder(kind: str, tmp_path: Path) -> None:
    theirs, name = folder_of(kind, tmp_path, 5)
    model = load_model(name, "default", None, size=SIZE).eval()
    assert (model.num_classes, model.channels) == (5, (24, 32, 48, 64))
    x: Tensor = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(model(x), theirs.eval().to(memory_format=torch.channels_last)(x))


@pytest.mark.parametrize("kind", ["save_for_hf", "by hand"])
def test_a_student_from_a_folder(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, name = folder_of(kind, tmp_path, CLASSES)
    require_has(student_of(name, "default"), dict(theirs.state_dict()))
    assert capsys.readouterr().err == ""
    other = student_of(name, "default", classes=4)
    assert capsys.readouterr().err.startswith("NOTE: default has 7 classes and the student 4")
    assert other.backbone.num_classes == 4


@pytest.mark.parametrize("files", [{}, {"config.json": "{"}, {"config.json": "{}"}])
def test_a_folder_that_is_no_timm_model(files: dict[str, str], tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        build_model(f"local-dir:{tmp_path}", CLASSES, size=SIZE)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"timm cannot make local-dir:{tmp_path} (")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    _, name = folder_of("by hand", tmp_path, CLASSES)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match=r"timm cannot make local-dir:.*No suitable checkpoint"):
        load_model(name, "default", CLASSES, size=SIZE)
