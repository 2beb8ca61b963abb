"""Staged models: torchvision's parameters and torchvision's bits, and weight files of all kinds."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from shared.choices import ARCHITECTURES, STEMS
from shared.errors import InputError
from shared.models.build import build_model, load_weights, weights_digest
from shared.models.cifar_resnet import CIFAR_RESNETS
from shared.models.resnet import RESNETS
from shared.models.staged import StagedModel
from tests.helpers import write_teacher
from tests.test_regular import ODD

State = dict[str, Tensor]
WIDTHS = {
    "resnet18": (64, 128, 256, 512),
    "resnet34": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
    "resnet101": (256, 512, 1024, 2048),
    "resnet152": (256, 512, 1024, 2048),
}
every_resnet = pytest.mark.parametrize("architecture", RESNETS)
every_stem = pytest.mark.parametrize("stem", STEMS)


def plain(architecture: str, classes: int) -> nn.Module:
    model: nn.Module = torchvision.models.get_model(architecture, weights=None, num_classes=classes)
    return model


def staged(
    architecture: str = "cifar_resnet20", classes: int = 5, stem: str | None = None
) -> StagedModel:
    return build_model(architecture, classes, stem)


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


@every_resnet
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


@every_resnet
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
    model = staged("resnet18").eval()
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
@every_resnet
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


def test_all_architectures_are_known() -> None:
    assert list(ARCHITECTURES) == [*RESNETS, *CIFAR_RESNETS]


# ---- the three-stage ones for 32 px


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    # The published counts for 10 classes (github.com/akamaster/pytorch_resnet_cifar10, shortcuts
    # without parameters) and 2,752 for the two shortcuts that have some here.
    [
        ("cifar_resnet20", 269_722 + 2_752),
        ("cifar_resnet32", 464_154 + 2_752),
        ("cifar_resnet44", 658_586 + 2_752),
        ("cifar_resnet56", 853_018 + 2_752),
        ("cifar_resnet110", 1_727_962 + 2_752),
    ],
)
def test_cifar_resnets_have_the_papers_size(architecture: str, parameters: int) -> None:
    with torch.device("meta"):
        model = build_model(architecture, 10)
        logits, stages = model(torch.empty(2, 3, 32, 40))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) - 2 == int(architecture.removeprefix("cifar_resnet"))  # less shortcuts
    assert {name.split(".")[0] for name in model.state_dict()} == {
        *("conv1", "bn1", "layer1", "layer2", "layer3", "fc")
    }
    assert model.channels == (16, 32, 64)
    assert [tuple(stage.shape) for stage in stages] == [
        (2, width, 32 // stride, 40 // stride)
        for width, stride in zip(model.channels, (1, 2, 4), strict=True)
    ]
    assert logits.shape == (2, 10)
    assert (model.architecture, model.stem, model.num_classes) == (architecture, "cifar", 10)
    assert 32 // stages[-1].shape[2] == model.stride


def test_a_cifar_resnets_logits_are_the_head_of_its_last_means() -> None:
    model = build_model("cifar_resnet20", 5).eval()
    seen = []
    for layer in (model.layer1, model.layer2, model.layer3):
        assert isinstance(layer, nn.Module)
        layer.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        logits, stages = model(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(stage, output) for stage, output in zip(stages, seen, strict=True))
    assert torch.equal(logits, model.fc(stages[-1].mean(dim=(2, 3))))
    assert all((stage >= 0).all() and (stage > 0).any() for stage in stages)  # after ReLU


def test_a_stem_that_an_architecture_cannot_have() -> None:
    with pytest.raises(InputError, match="--stem must be cifar for cifar_resnet20: got imagenet"):
        build_model("cifar_resnet20", 5, "imagenet")


def test_no_weights_of_cifar_resnets_are_published() -> None:
    text = refused(build_model("cifar_resnet20", 5), "IMAGENET1K_V1")
    assert text.startswith(
        "--weights must be a file for cifar_resnet20: there is no 'IMAGENET1K_V1'"
    )


# ---- weight files


def save(path: Path, value: object) -> str:
    torch.save(value, path)
    return str(path)


def refused(model: StagedModel, weights: str) -> str:
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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("entry", ["conv1.weight", "bn1.running_var", "fc.bias"])
def test_weights_that_are_not_finite(tmp_path: Path, entry: str, value: float) -> None:
    state = randomised(staged())
    state[entry].view(-1)[0] = value
    text = refused(staged(), save(tmp_path / "diverged.pt", state))
    assert f"holds numbers that are not finite, first in {entry}: " in text


def test_doubles_that_no_float_holds_are_not_finite(tmp_path: Path) -> None:
    state = randomised(staged())
    state["fc.bias"] = torch.full((5,), 1e300, dtype=torch.float64)
    assert "not finite, first in fc.bias" in refused(staged(), save(tmp_path / "w.pt", state))


def odd_tensors() -> dict[str, tuple[object, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "sparse": (torch.zeros(5).to_sparse(), "a sparse tensor under 'fc.bias'"),
            "csr": (torch.eye(5).to_sparse_csr(), "a sparse tensor"),
            "quantized": (
                torch.quantize_per_tensor(torch.zeros(5), 0.1, 0, torch.qint8),
                "a quantized tensor",
            ),
            "meta": (torch.zeros(5, device="meta"), "a tensor on the device meta"),
            "complex": (torch.zeros(5, dtype=torch.complex64), "a tensor of complex64"),
            "bool": (torch.zeros(5, dtype=torch.bool), "a tensor of bool"),
            "float8": (torch.zeros(5).to(torch.float8_e5m2), "a tensor of float8_e5m2"),
            "nested": (
                torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
                "does not load",
            ),
            "empty": (torch.zeros(0), "fc.bias is (0,) there and (5,) here"),
            "scalar": (torch.zeros(()), "fc.bias is () there"),
            "endless": (torch.zeros(1).expand(10**12), "fc.bias is (1000000000000,) there"),
            "no tensor": ([0.0] * 5, "instead of a state dict"),
        }


ODD_TENSORS = odd_tensors()


@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_odd_tensors_are_refused(tmp_path: Path, kind: str) -> None:
    value, found = ODD_TENSORS[kind]
    state: dict[str, object] = {**randomised(staged()), "fc.bias": value}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = save(tmp_path / "odd.pt", state)
    assert found in refused(staged(), weights)


def test_a_tensor_that_repeats_one_number_loads(tmp_path: Path) -> None:
    state = {**randomised(staged()), "fc.bias": torch.ones(1).expand(5)}
    model = staged()
    load_weights(model, save(tmp_path / "repeated.pt", state))
    assert model.fc.bias.tolist() == [1.0] * 5


@pytest.mark.parametrize("name", ["a\nb", "x" * 10**6, "\x1b[2J"])
def test_odd_names_are_shown_in_one_short_line(tmp_path: Path, name: str) -> None:
    state = {**randomised(staged()), name: torch.zeros(2)}
    text = refused(staged(), save(tmp_path / "named.pt", state))
    assert text.isprintable() and len(text) < 1000


@pytest.mark.parametrize("kind", [kind for kind in ODD if kind != "terminal"])
def test_what_is_no_regular_file_is_no_weights(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, found = ODD[kind]
    make(Path("odd.pt"))
    assert found in refused(staged(), "odd.pt")


def test_a_download_that_was_cut_off(tmp_path: Path) -> None:
    """Wherever: what torch then asks of the file is no fault of the disk."""
    whole = Path(save(tmp_path / "whole.pt", randomised(staged()))).read_bytes()
    path = tmp_path / "cut.pt"
    for stop in (100, 5000, 10**5, len(whole) // 2, len(whole) - 1000):
        path.write_bytes(whole[:stop])
        assert "it does not load with weights_only=True" in refused(staged(), str(path))


def test_a_zip_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.pt", randomised(staged()))
    with (
        zipfile.ZipFile(whole) as old,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.namelist():
            new.writestr(entry, old.read(entry) if entry.endswith("pkl") else bytes(10**6))
    assert "it unpacks from" in refused(staged(), str(tmp_path / "packed.pt"))


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
