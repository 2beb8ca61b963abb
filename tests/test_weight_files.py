"""Weight files: one that fits loads every entry; of one that does not, a line says why."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision

from shared.models.weights import load_weights, weights_digest
from tests.networks import State, every_stem, plain, randomised, refused, save, staged


@every_stem
def test_a_fitting_file_loads_every_entry(tmp_path: Path, stem: str) -> None:
    model = staged("resnet18", stem=stem)
    state = randomised(model)
    load_weights(model, save(tmp_path / "weights.pt", state))
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_file_of_torchvisions_plain_model_loads(tmp_path: Path) -> None:
    theirs = plain("resnet18", 5)
    theirs.load_state_dict(randomised(theirs))
    model = staged("resnet18")
    load_weights(model, save(tmp_path / "plain.pt", theirs.state_dict()))
    assert weights_digest(model) == weights_digest(theirs)


def test_an_old_file_without_batch_counters_loads(tmp_path: Path) -> None:
    """Files from before PyTorch 0.4.1 have no num_batches_tracked; eval mode does not read it."""
    model = staged()
    state = {k: v for k, v in randomised(model).items() if not k.endswith("num_batches_tracked")}
    load_weights(model, save(tmp_path / "old.pth", state))
    for name, value in model.state_dict().items():
        assert torch.equal(value, state.get(name, torch.tensor(0))), name


def test_a_network_that_asks_for_the_version_of_its_layout(tmp_path: Path) -> None:
    """torchvision's MNASNet refuses a state dict that is a plain dictionary."""
    theirs = plain("mnasnet0_5", 5)
    model = staged("mnasnet0_5")
    load_weights(model, save(tmp_path / "plain.pt", theirs.state_dict()))
    assert weights_digest(model.network) == weights_digest(theirs)


def wrapped_under(name: str) -> Callable[[State], object]:
    return lambda state: {"epoch": 3, name: state, "optimizer": {"lr": 0.1}}


WRAPS: dict[str, Callable[[State], object]] = {
    "DataParallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
    "both": lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
    "AveragedModel": lambda state: {
        "n_averaged": torch.tensor(5),
        **{f"module.{name}": value for name, value in state.items()},
    },
    **{
        name: wrapped_under(name) for name in ("state_dict", "model", "student", "model_ema", "ema")
    },
    "wrapped and prefixed": lambda state: {
        "state_dict": {f"module.{name}": value for name, value in state.items()}
    },
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_what_scripts_make_of_a_state_dict_loads(
    tmp_path: Path, wrap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = randomised(staged())
    model = staged()
    load_weights(model, save(tmp_path / "wrapped.pt", WRAPS[wrap](state)))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert capsys.readouterr().err == ""


def test_of_two_networks_the_choice_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = [randomised(staged()) for _ in range(2)]
    weights = save(tmp_path / "two.pt", {"model_ema": states[0], "model": states[1]})
    model = staged()
    load_weights(model, weights)
    assert torch.equal(model.fc.bias, states[1]["fc.bias"])
    assert capsys.readouterr().err == f"NOTE: {weights} holds model, model_ema: model is taken\n"


def test_a_tensor_that_repeats_one_number_loads(tmp_path: Path) -> None:
    state = {**randomised(staged()), "fc.bias": torch.ones(1).expand(5)}
    model = staged()
    load_weights(model, save(tmp_path / "repeated.pt", state))
    assert model.fc.bias.tolist() == [1.0] * 5


def test_missing_file_names_the_path_and_the_known_names() -> None:
    text = refused(staged("resnet18"), "no/such/file.pt")
    assert "'no/such/file.pt'" in text
    assert "IMAGENET1K_V1" in text
    assert "IMAGENET1K_V2" in refused(staged("resnet50"), "IMAGENET1K_V3")


def test_a_folder_is_no_weight_file(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(staged(), str(tmp_path))


def test_a_name_that_cannot_be_downloaded_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", no_network)
    text = refused(staged("resnet18", 1000), "IMAGENET1K_V1")
    assert "resnet18 IMAGENET1K_V1" in text
    assert "no network in tests" in text


def test_wrong_classes(tmp_path: Path) -> None:
    weights = save(tmp_path / "seven.pt", randomised(staged(classes=7)))
    text = refused(staged(classes=5), weights)
    assert "5 classes" in text
    assert weights in text
    assert "differs in 2 entries" in text
    assert "fc.weight is (7, 64) there and (5, 64) here" in text


def test_wrong_stem(tmp_path: Path) -> None:
    text = refused(
        staged("resnet18"), save(tmp_path / "cifar.pt", randomised(staged("resnet18", 5, "cifar")))
    )
    assert "stem imagenet" in text
    assert "differs in 1 entries" in text
    assert "conv1.weight is (64, 3, 3, 3) there and (64, 3, 7, 7) here" in text


def test_wrong_architecture(tmp_path: Path) -> None:
    with torch.device("meta"):
        other = staged("resnet34")
    state = {name: torch.zeros(value.shape) for name, value in other.state_dict().items()}
    text = refused(staged("resnet18"), save(tmp_path / "resnet34.pt", state))
    assert "does not fit resnet18" in text
    assert "there and absent here" in text


def test_missing_and_unknown_entries(tmp_path: Path) -> None:
    state = randomised(staged())
    state["extra"] = state.pop("layer3.0.conv2.weight")
    text = refused(staged(), save(tmp_path / "renamed.pt", state))
    assert "differs in 2 entries" in text
    assert "layer3.0.conv2.weight is absent there and (64, 64, 3, 3) here" in text
    text = refused(staged(), save(tmp_path / "empty.pt", {}))
    assert "conv1.weight is absent there" in text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"epoch": 3, "net": {"fc.bias": torch.zeros(5)}}, "a dict of 'epoch', 'net' instead"),
        ({"state_dict": {"fc.bias": 5}}, "a dict of 'fc.bias' instead"),
        ({3: torch.zeros(5)}, "a dict of 3 instead"),
        ([torch.zeros(2)], "list"),
        (torch.zeros(2), "Tensor"),
        ({"lr": 0.1}, "lr"),
    ],
)
def test_no_state_dict_but_something_else(tmp_path: Path, value: object, found: str) -> None:
    weights = save(tmp_path / "other.pt", value)
    text = refused(staged(), weights)
    assert weights in text
    assert found in text
    assert "model.state_dict()" in text
