"""--teacher and --student FILE.py:FUNCTION or package.module:FUNCTION."""

import copy
from pathlib import Path

import pytest
import torch

from shared.errors import InputError
from shared.models.build import build_model
from shared.models.loaded import load_model
from shared.models.staged import channel_means
from tests.models.made import CLASSES, images, output_of, refused, run_of
from tests.models.own_networks import write_network
from tests.networks import save


def test_stages_are_the_last_modules_at_each_map_size(tmp_path: Path) -> None:
    model = build_model(f"{write_network(tmp_path)}:small", CLASSES, size=64).eval()
    assert model.stage_modules == ("low", "high") and model.channels == (8, 16)
    run = run_of(model)
    for name, maps in zip(model.stage_modules, run.stages, strict=True):
        assert torch.equal(maps, output_of(model, name))
    assert (model.stride, model.embedding_width, model.signed) == (4, 16, False)
    assert torch.allclose(run.embedding, channel_means(run.stages[-1]))
    assert model.linear_head is model.network.fc


def test_a_method_stages_says_which_maps_are_the_stages(tmp_path: Path) -> None:
    model = build_model(f"{write_network(tmp_path)}:staged", CLASSES, size=64).eval()
    assert model.stage_modules == () and model.channels == (8, 16)
    x = images()
    run = run_of(model)
    with torch.no_grad():
        wanted = type(model.network).stages(model.network, x)
    assert all(map(torch.equal, run.stages, wanted)) and len(wanted) == 2


def test_stage_modules_come_before_a_method_stages(tmp_path: Path) -> None:
    name = f"{write_network(tmp_path)}:staged"
    model = build_model(name, CLASSES, size=64, stage_modules=("low.0", "high.0")).eval()
    assert model.stage_modules == ("low.0", "high.0") and model.signed
    assert torch.equal(run_of(model).stages[1], output_of(model, "high.0"))


def test_a_method_stages_that_forward_does_not_call(tmp_path: Path) -> None:
    path = write_network(
        tmp_path,
        """
class Idle(Small):
    def stages(self, x):
        return [self.low(x)]


def idle(num_classes):
    return Idle(num_classes)
""",
    )
    assert refused(f"{path}:idle") == (
        f"{path}:idle has a method stages(x), but its forward does not call it: call it there, or "
        f"name modules with --stage-modules"
    )
    assert build_model(f"{path}:idle", CLASSES, size=64, stage_modules=("high",)).channels == (16,)


@pytest.mark.parametrize("function", ["small", "staged"])
def test_a_copy_records_its_own_stages(tmp_path: Path, function: str) -> None:
    model = build_model(f"{write_network(tmp_path)}:{function}", CLASSES, size=64).eval()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for value in other.network.parameters():
            value.mul_(2)
        mine = [maps.clone() for maps in model.run(images()).stages]
        theirs = other.run(images()).stages
        again = model.run(images()).stages
    assert all(map(torch.equal, mine, again))
    assert not any(map(torch.equal, mine, theirs))


ARGUMENTS = """
def bare():
    return Small(7)

def default(num_classes=7):
    return Small(num_classes)

def options(**options):
    return Small(**options)
"""


@pytest.mark.parametrize(
    ("function", "asked", "classes"),
    [
        ("small", 5, 5),
        ("small", None, 1000),  # as many as ImageNet has, where nothing says it
        ("bare", 7, 7),
        ("bare", None, 7),
        ("default", 5, 5),
        ("default", None, 7),
        ("options", 5, 5),
    ],
)
def test_the_number_of_classes(
    tmp_path: Path, function: str, asked: int | None, classes: int
) -> None:
    name = f"{write_network(tmp_path, ARGUMENTS)}:{function}"
    assert build_model(name, asked, size=64).num_classes == classes


def test_a_function_without_the_argument_must_have_the_datas_classes(tmp_path: Path) -> None:
    name = f"{write_network(tmp_path, ARGUMENTS)}:bare"
    assert refused(name, classes=5) == (
        f"{name} returns (2, 7) for 2 images: it must return logits of 5 classes, (2, 5)"
    )


def test_a_file_of_weights_says_how_many_classes_there_are(tmp_path: Path) -> None:
    """Where only features are kept, --targets channels, nothing else says it."""
    name = f"{write_network(tmp_path)}:small"
    other = build_model(name, 5, size=64)
    weights = save(tmp_path / "weights.pt", other.network.state_dict())
    model = load_model(name, weights, None, size=64)
    assert model.num_classes == 5
    assert all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))


def test_weights_that_the_function_loads_itself(tmp_path: Path) -> None:
    path = write_network(
        tmp_path, "\ndef ones(num_classes):\n    network = Small(num_classes)\n"
        "    nn.init.ones_(network.fc.weight)\n    return network\n",
    )  # fmt: skip
    assert load_model(f"{path}:ones", "own", CLASSES, size=64).network.fc.weight.eq(1).all()
    with pytest.raises(InputError, match="--weights own is for networks of your own: give a file"):
        load_model("mobilenet_v3_small", "own", CLASSES, size=64)


def test_a_module_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets_of_a_test").mkdir()
    write_network(tmp_path / "nets_of_a_test", name="inner.py")
    monkeypatch.syspath_prepend(tmp_path)
    model = build_model("nets_of_a_test.inner:small", CLASSES, size=64)
    assert model.channels == (8, 16)
    assert refused("nets_of_a_test.other:small") == (
        "nets_of_a_test.other cannot be imported: ModuleNotFoundError: No module named "
        "'nets_of_a_test.other'; install it, or give FILE.py:FUNCTION"
    )


def test_a_file_with_a_dataclass(tmp_path: Path) -> None:
    """dataclasses look their module up by name."""
    path = write_network(
        tmp_path,
        """
from __future__ import annotations
from dataclasses import dataclass, field


@dataclass
class Options:
    classes: int
    widths: list[int] = field(default_factory=list)


def network(num_classes):
    return Small(Options(num_classes).classes)
""".replace("from __future__ import annotations\n", ""),
    )
    text = path.read_text()
    path.write_text(f"from __future__ import annotations\n{text}")
    assert build_model(f"{path}:network", CLASSES, size=64).num_classes == CLASSES


def test_two_files_of_one_name_are_two_networks(tmp_path: Path) -> None:
    """Teacher and student may both be called net.py."""
    names = []
    for width in (4, 6):
        folder = tmp_path / str(width)
        folder.mkdir()
        path = write_network(folder)
        path.write_text(path.read_text().replace("8", str(width)))
        names.append(f"{path}:small")
    widths = [build_model(name, CLASSES, size=64).channels for name in (*names, names[0])]
    assert widths == [(4, 16), (6, 16), (4, 16)]
