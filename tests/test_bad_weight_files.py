"""Weight files with odd, damaged or hostile contents: one line, and no code in them runs."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from shared.errors import InputError
from shared.models.weights import load_weights
from tests.networks import randomised, refused, save, staged
from tests.test_regular import ODD


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
