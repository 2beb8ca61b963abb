"""Networks that are named wrongly: one line says what is wrong and what to do, and nothing is
written."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import InputError
from shared.models.build import build_model
from shared.records.identity import require_same
from tests.any_network.pairs import write_weights
from tests.helpers import require_refused, run, run_precompute, snapshot
from tests.processes import ROOT
from tests.small_cache import any_teacher, make_manifest
from train.checkpoint import load_student

pytest.importorskip("timm")

OWN = "tests/own_networks/akamaster.py"
REFUSED = {
    "timm/restnet18": "timm cannot make restnet18 (*): did you mean resnet18?",
    "timm/qqqq": "timm cannot make qqqq (*); timm.list_models() lists its names",
    "timm/resnet18.a9": "timm cannot make resnet18.a9 (*); its tags are a1_in1k, a2_in1k, ",
    "local-dir:/no/such": "timm cannot make local-dir:/no/such (*); give a folder with config.json",
    "timm/vit_tiny_patch16_224": "timm/vit_tiny_patch16_224 fails on images of 8 x 8 pixels (*): "
    "give the --size that it was made for",
    OWN: f"{OWN} names a file, but not its function that returns the network: give {OWN}:FUNCTION",
    f"{OWN}:resnet21": f"{OWN} has no function 'resnet21': it has Block, Network, resnet20, "
    "resnet56; name a function that takes num_classes and returns an nn.Module",
    "no_such_package:net": "no_such_package cannot be imported: ModuleNotFoundError: No module "
    "named 'no_such_package'; install it, or give FILE.py:FUNCTION",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError) as caught:
        build_model(name, 3, size=8)
    text = str(caught.value)
    assert "\n" not in text
    start, _, end = REFUSED[name].partition("*")
    assert text.startswith(start) and end in text, text


def test_an_own_network_is_not_taken_for_imagenets(image_folder: Path, tmp_path: Path) -> None:
    """Without --weights those that it comes with are meant, whatever classes the data have."""
    flags = ("--images", image_folder, "--size", 32, "--views", 1, "--cache", tmp_path / "cache")
    done = run_precompute("--teacher", f"{OWN}:resnet20", *flags)
    assert f"teacher  {OWN}:resnet20" in done.stdout


def test_weights_of_other_classes(image_folder: Path, tmp_path: Path) -> None:
    write_weights(tmp_path / "seven.pt", f"{OWN}:resnet20", 32, classes=7)
    before = snapshot(tmp_path)
    done = run_precompute(
        *("--teacher", f"{OWN}:resnet20", "--weights", tmp_path / "seven.pt", "--size", 32),
        *("--images", image_folder, "--views", 1, "--cache", tmp_path / "cache"),
        check=False,
    )
    require_refused(
        done,
        f"the teacher {OWN}:resnet20 has 7 classes and {image_folder} has 3",
        "with --classes FILE, or keep no logits with --targets channels",
    )
    assert snapshot(tmp_path) == before


def test_an_own_network_that_has_moved(image_folder: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here.py", tmp_path / "there.py"
    shutil.copy(ROOT / OWN, here)
    write_weights(tmp_path / "teacher.pt", f"{here}:resnet20", 32)
    cache = ("--cache", tmp_path / "cache")
    run_precompute(
        *("--teacher", f"{here}:resnet20", "--weights", tmp_path / "teacher.pt", "--size", 32),
        *("--images", image_folder, "--views", 1, *cache),
    )
    here.rename(there)
    before = snapshot(tmp_path)
    require_refused(
        run("precompute/verify.py", *cache, check=False),
        f"the cache's teacher is {here}:resnet20, and there is no such file: put it there again",
        "or give its new name to precompute/verify.py --teacher FILE.py:FUNCTION",
    )
    assert snapshot(tmp_path) == before
    run("precompute/verify.py", *cache, "--teacher", f"{there}:resnet20")


def test_other_classes_are_named_before_the_hash_of_the_head() -> None:
    mine, other = (
        make_manifest(teacher=replace(any_teacher(), class_map=chosen, head_sha256=digest * 32))
        for chosen, digest in (((2, 1, 0), "aa"), ((0, 1, 2), "bb"))
    )
    with pytest.raises(InputError, match=r"made with teacher class_map \[0, 1, 2\] and this run"):
        require_same(mine, other, "cache")


def test_a_checkpoint_that_is_not_there_is_told_with_its_flag() -> None:
    facts = {"architecture": "resnet18", "classes": 3, "stem": "cifar", "size": 32}
    with pytest.raises(InputError, match=r"^--checkpoint must be a file or one of IMAGENET1K_V1 "):
        load_student(Path("nowhere.pt"), facts)
