"""Staged models: torchvision's parameters and torchvision's bits, and weight files of all kinds."""

import io
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from shared.errors import InputError
from shared.models import ARCHITECTURES, STEMS, StagedResNet, load_weights, weights_digest
from tests.helpers import write_teacher

State = dict[str, Tensor]
WIDTHS = {
    "resnet18": (64, 128, 256, 512),
    "resnet34": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
    "resnet101": (256, 512, 1024, 2048),
    "resnet152": (256, 512, 1024, 2048),
}
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
every_stem = pytest.mark.parametrize("stem", STEMS)


def plain(architecture: str, classes: int) -> nn.Module:
    model: nn.Module = torchvision.models.get_model(architecture, weights=None, num_classes=classes)
    return model


def staged(
    architecture: str = "resnet18", classes: int = 5, stem: str = "imagenet"
) -> StagedResNet:
    return StagedResNet(architecture, classes, stem)


def randomised(model: nn.Module, seed: int = 0) -> State:
    """A state dict of the model with every entry random, so that no two entries look alike."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            scale = 2 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.5
            state[name] = torch.rand(value.shape, generator=generator) * scale
            state[name] -= 0.0 if name.endswith("running_var") else scale / 2
        else:
            state[name] = torch.randint(1, 1000, value.shape, generator=generator)
    return state


@every_architecture
def test_state_dict_is_torchvisions_both_ways(architecture: str) -> None:
    with torch.device("meta"):
        ours, theirs = staged(architecture), plain(architecture, 5)
    shapes = [(name, value.shape) for name, value in theirs.state_dict().items()]
    assert [(name, value.shape) for name, value in ours.state_dict().items()] == shapes
    assert [name for name, _ in ours.named_parameters()] == [
        name for name, _ in theirs.named_parameters()
    ]
    assert [name for name, _ in ours.named_modules()] == [
        name for name, _ in theirs.named_modules()
    ]
    state = {name: torch.empty(shape) for name, shape in shapes}
    ours.load_state_dict(state, strict=True, assign=True)
    theirs.load_state_dict(ours.state_dict(), strict=True, assign=True)


@every_architecture
def test_cifar_stem_changes_the_first_convolution_only(architecture: str) -> None:
    with torch.device("meta"):
        ours, theirs = staged(architecture, stem="cifar"), plain(architecture, 5)
    mine = {name: tuple(value.shape) for name, value in ours.state_dict().items()}
    others = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    assert mine.pop("conv1.weight") == (64, 3, 3, 3)
    assert others.pop("conv1.weight") == (64, 3, 7, 7)
    assert mine == others


@pytest.mark.parametrize("architecture", ["resnet18", "resnet34", "resnet50"])
def test_eval_logits_have_torchvisions_bits(architecture: str) -> None:
    ours, theirs = staged(architecture).eval(), plain(architecture, 5).eval()
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert not torch.equal(ours(x)[0], theirs(x))  # other initial weights
        state = randomised(theirs)
        ours.load_state_dict(state)
        theirs.load_state_dict(state)
        logits = ours(x)[0]
        assert logits.isfinite().all()
        assert logits.std() > 1e-3
        torch.testing.assert_close(logits, theirs(x))
        # Bit for bit where its weights lie as ours do: convolutions then sum in the same order.
        assert torch.equal(logits, theirs.to(memory_format=torch.channels_last)(x))


def test_stages_are_torchvisions_layers() -> None:
    model = staged().eval()
    model.load_state_dict(randomised(model))
    seen = []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        layer.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.inference_mode():
        stages = model.stages(torch.randn(2, 3, 64, 64))
    assert len(stages) == len(seen) == 4
    for stage, output in zip(stages, seen, strict=True):
        assert torch.equal(stage, output)
        assert (stage >= 0).all()  # after ReLU
        assert (stage > 0).any()


@every_stem
@every_architecture
def test_stage_shapes_and_channels(architecture: str, stem: str) -> None:
    with torch.device("meta"):
        model = staged(architecture, 7, stem)
        logits, stages = model(torch.empty(2, 3, 64, 96))
    assert model.channels == WIDTHS[architecture]
    first = 4 if stem == "imagenet" else 1  # pixels of the image a pixel of the first stage
    for stage, width, stride in zip(stages, model.channels, (1, 2, 4, 8), strict=True):
        assert stage.shape == (2, width, 64 // (first * stride), 96 // (first * stride))
    assert logits.shape == (2, 7)
    assert (model.architecture, model.stem, model.num_classes) == (architecture, stem, 7)


@every_stem
@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
@pytest.mark.parametrize("training", [False, True])
def test_logits_are_the_head_of_the_last_means(
    architecture: str, stem: str, training: bool
) -> None:
    model = staged(architecture, stem=stem).train(training)
    with torch.no_grad():
        logits, stages = model(torch.randn(2, 3, 32, 32))
        assert torch.equal(logits, model.head(stages[-1].mean(dim=(2, 3))))
        assert torch.equal(logits, model.fc(torch.flatten(model.avgpool(stages[-1]), 1)))


# ---- weight files


def save(path: Path, value: object) -> str:
    torch.save(value, path)
    return str(path)


def refused(model: StagedResNet, weights: str) -> str:
    """The one line of the InputError; the model must not have changed."""
    before = weights_digest(model)
    with pytest.raises(InputError) as caught:
        load_weights(model, weights)
    assert weights_digest(model) == before
    text = str(caught.value)
    assert "\n" not in text
    return text


@every_stem
def test_a_fitting_file_loads_every_entry(tmp_path: Path, stem: str) -> None:
    model = staged(stem=stem)
    state = randomised(model)
    load_weights(model, save(tmp_path / "weights.pt", state))
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_file_of_torchvisions_plain_model_loads(tmp_path: Path) -> None:
    theirs = plain("resnet18", 5)
    theirs.load_state_dict(randomised(theirs))
    model = staged()
    load_weights(model, save(tmp_path / "plain.pt", theirs.state_dict()))
    assert weights_digest(model) == weights_digest(theirs)


def test_an_old_file_without_batch_counters_loads(tmp_path: Path) -> None:
    """Files from before PyTorch 0.4.1 have no num_batches_tracked; eval mode does not read it."""
    model = staged()
    state = {k: v for k, v in randomised(model).items() if not k.endswith("num_batches_tracked")}
    load_weights(model, save(tmp_path / "old.pth", state))
    for name, value in model.state_dict().items():
        assert torch.equal(value, state.get(name, torch.tensor(0))), name


def test_missing_file_names_the_path_and_the_known_names() -> None:
    text = refused(staged(), "no/such/file.pt")
    assert "'no/such/file.pt'" in text
    assert "IMAGENET1K_V1" in text
    assert "IMAGENET1K_V2" in refused(staged("resnet50"), "IMAGENET1K_V3")


def test_a_folder_is_no_weight_file(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(staged(), str(tmp_path))


def test_a_name_that_cannot_be_downloaded_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", no_network)
    text = refused(staged(classes=1000), "IMAGENET1K_V1")
    assert "resnet18 IMAGENET1K_V1" in text
    assert "no network in tests" in text


def test_wrong_classes(tmp_path: Path) -> None:
    weights = save(tmp_path / "seven.pt", randomised(staged(classes=7)))
    text = refused(staged(classes=5), weights)
    assert "5 classes" in text
    assert weights in text
    assert "differs in 2 entries" in text
    assert "fc.weight is (7, 512) there and (5, 512) here" in text


def test_wrong_stem(tmp_path: Path) -> None:
    text = refused(staged(), save(tmp_path / "cifar.pt", randomised(staged(stem="cifar"))))
    assert "stem imagenet" in text
    assert "differs in 1 entries" in text
    assert "conv1.weight is (64, 3, 3, 3) there and (64, 3, 7, 7) here" in text


def test_wrong_architecture(tmp_path: Path) -> None:
    with torch.device("meta"):
        other = staged("resnet34")
    state = {name: torch.zeros(value.shape) for name, value in other.state_dict().items()}
    text = refused(staged("resnet18"), save(tmp_path / "resnet34.pt", state))
    assert "must fit resnet18" in text
    assert "there and absent here" in text


def test_missing_and_unknown_entries(tmp_path: Path) -> None:
    state = randomised(staged())
    state["extra"] = state.pop("layer3.0.conv2.weight")
    text = refused(staged(), save(tmp_path / "renamed.pt", state))
    assert "differs in 2 entries" in text
    assert "layer3.0.conv2.weight is absent there and (256, 256, 3, 3) here" in text
    text = refused(staged(), save(tmp_path / "empty.pt", {}))
    assert "conv1.weight is absent there" in text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"epoch": 3, "state_dict": {"fc.bias": torch.zeros(5)}}, "epoch, state_dict"),
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


class Code:
    """Pickles into a call of a function that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("dump", [torch.save, lambda value, file: pickle.dump(value, file, 2)])
def test_code_in_a_file_is_refused_and_not_run(
    tmp_path: Path, dump: Callable[[object, io.BytesIO], None]
) -> None:
    buffer = io.BytesIO()
    dump({"fc.bias": Code(tmp_path / "it ran")}, buffer)
    path = tmp_path / "evil.pt"
    path.write_bytes(buffer.getvalue())
    text = refused(staged(), str(path))
    assert str(path) in text
    assert "weights_only=True" in text
    assert not (tmp_path / "it ran").exists()
    with suppress(RuntimeError):  # negative control: the code in it does run
        torch.load(path, weights_only=False)
    assert (tmp_path / "it ran").exists()


def test_a_whole_model_is_refused(tmp_path: Path) -> None:
    text = refused(staged(), save(tmp_path / "model.pt", staged()))
    assert "weights_only=True" in text


def test_damaged_and_foreign_bytes_are_refused(tmp_path: Path) -> None:
    """torch raises a dozen kinds of errors here, some without a text."""
    model = nn.Linear(2, 2)  # a small file: every length of it is tried
    path = tmp_path / "damaged.pt"
    files = [b"", b"hello world", b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x02.\n"]
    for new_format in (True, False):
        buffer = io.BytesIO()
        torch.save(model.state_dict(), buffer, _use_new_zipfile_serialization=new_format)
        data = buffer.getvalue()
        files += [data[:stop] for stop in range(1, len(data) - 1, 37)]
        files += [data[:at] + b"\xff\xff" + data[at + 2 :] for at in range(0, len(data), 37)]
    small = staged(classes=1)
    for data in files:
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            load_weights(small, str(path))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


# ---- the digest


def test_digest_is_of_the_values_alone(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        write_teacher(tmp_path / name, "resnet18", 5, seed=3)
    models = [staged(), staged(), staged()]
    load_weights(models[0], str(tmp_path / "a.pt"))
    load_weights(models[1], str(tmp_path / "b.pt"))
    models[2].load_state_dict(models[0].state_dict())
    models[2].requires_grad_(False).eval().to(memory_format=torch.channels_last)
    digests = {weights_digest(model) for model in models}
    assert len(digests) == 1
    assert len(digests.pop()) == 64
    write_teacher(tmp_path / "a.pt", "resnet18", 5, seed=4)
    load_weights(models[1], str(tmp_path / "a.pt"))
    assert weights_digest(models[0]) != weights_digest(models[1])


@pytest.mark.parametrize(
    "entry", ["conv1.weight", "layer4.1.bn2.running_var", "bn1.num_batches_tracked", "fc.bias"]
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
