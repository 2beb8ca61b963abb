"""The statistics of a cache: in both formats, in all codecs, with images left out."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from precompute.class_statistics import measure_classes
from shared.errors import InputError
from shared.store.labelled import labelled_rows
from shared.store.opening import Cache
from shared.targets.bounds import error_bound
from shared.targets.classes import ClassStatistics
from tests.class_statistics.caches import (
    WIDTHS,
    make_cache_of,
    make_targets,
    slow_centres,
    slow_distance,
    slow_prior,
)
from tests.coded import every_codec
from tests.small_cache import any_teacher, make_head, make_manifest, open_empty
from tests.stores import every_format, flip_middle_bit, refused

LABELS = [0, 0, 1, 2, 1, 0, 2, 2, 1, 0] * 3  # of each class at least 9
LEFT_OUT = (3, 11, 29)


def require_close(found: ClassStatistics, kept: list[int], tolerance: float = 1e-6) -> None:
    """Compares with the targets of the samples in `kept`, at the tolerance of the codec."""
    targets, labels = make_targets(len(LABELS)), [LABELS[i] for i in kept]
    logits, embedding = targets["logits"][kept], targets["channels"][kept, -WIDTHS[-1] :]
    assert found.counts.tolist() == [labels.count(label) for label in range(3)]
    largest = max(labels.count(label) for label in range(3))
    assert found.compared == min(largest, 64) <= 12
    of_class = [[i for i, other in enumerate(labels) if other == label] for label in range(3)]
    repeated = [(rows * 2)[: found.compared] for rows in of_class]
    expected = {
        "centres": slow_centres(embedding, labels),
        "prior": slow_prior(logits, labels),
        "distance": slow_distance([logits[rows] for rows in repeated]),
    }
    for name, values in expected.items():
        mine = found.tensors()[name]
        torch.testing.assert_close(mine.double(), values, rtol=0, atol=tolerance, msg=name)


@every_format
def test_equals_the_slow_computation(tmp_path: Path, store: str) -> None:
    cache = make_cache_of(tmp_path, make_targets(len(LABELS)), LABELS, store)
    require_close(measure_classes(cache, 0, 732), list(range(len(LABELS))))


@every_format
def test_images_that_were_left_out_are_not_counted(tmp_path: Path, store: str) -> None:
    cache = make_cache_of(tmp_path, make_targets(len(LABELS)), LABELS, store, left_out=LEFT_OUT)
    kept = [i for i in range(len(LABELS)) if i not in LEFT_OUT]
    require_close(measure_classes(cache, 0, 732), kept)


@every_codec
def test_both_formats_give_the_same_bits(tmp_path: Path, codec: str) -> None:
    """View shards store the same samples in another order."""
    targets = make_targets(len(LABELS))
    digests = {
        measure_classes(
            make_cache_of(tmp_path / store, targets, LABELS, store, codec, LEFT_OUT), 0, 732
        ).digest
        for store in ("zarr", "webdataset")
    }
    assert len(digests) == 1


@every_codec
def test_a_codec_moves_them_by_its_error(tmp_path: Path, codec: str) -> None:
    cache = make_cache_of(tmp_path, make_targets(len(LABELS)), LABELS, codec=codec)
    targets = make_targets(len(LABELS))
    bound = error_bound(cache.manifest.encoding, targets, make_head(width=WIDTHS[-1]))
    worst = max(float(values.max()) for values in bound.values())
    found = measure_classes(cache, 0, 732)
    require_close(found, list(range(len(LABELS))), tolerance=1e-6 + worst)
    assert worst < {"exact": 1e-9, "half": 0.003, "compact": 0.006, "tiny": 0.06}[codec]


@every_format
def test_classes_of_one_sample_and_of_none(tmp_path: Path, store: str) -> None:
    labels = [1] * 9 + [0]
    targets = make_targets(10)
    found = measure_classes(make_cache_of(tmp_path, targets, labels, store), 0, 732)
    assert found.counts.tolist() == [1, 9, 0] and found.compared == 9
    assert found.centres is not None and found.prior is not None and found.distance is not None
    expected = slow_centres(targets["channels"][:, -WIDTHS[-1] :], labels).float()
    torch.testing.assert_close(found.centres, expected, rtol=0, atol=1e-6)
    assert not found.centres[2].any() and found.prior[2].tolist() == pytest.approx([1 / 3] * 3)
    assert torch.equal(found.distance, 1 - torch.eye(3))


@every_format
def test_an_embedding_in_a_layer_of_its_own(tmp_path: Path, store: str) -> None:
    """Of a teacher whose embedding is not the mean of a stage."""
    targets = make_targets(len(LABELS))
    targets["embedding"] = torch.randn(len(LABELS), 7, generator=torch.Generator().manual_seed(1))
    cache = make_cache_of(
        tmp_path, targets, LABELS, store, teacher=any_teacher(), added={"embedding": (7,)}
    )
    found = measure_classes(cache, 0, 732)
    assert found.centres is not None and found.prior is not None
    expected = slow_centres(targets["embedding"], LABELS).float()
    torch.testing.assert_close(found.centres, expected, rtol=0, atol=1e-6)
    rows = list(labelled_rows(cache, 0, ["embedding", "logits"]))
    assert sum(len(block.index) for block in rows) == len(LABELS)
    for block in rows:
        assert [LABELS[i] for i in block.index] == block.labels.tolist()
        assert torch.equal(block.fields["embedding"], targets["embedding"][block.index])
        assert torch.equal(block.fields["logits"], targets["logits"][block.index])


def test_what_the_cache_lacks_is_left_out(tmp_path: Path) -> None:
    targets = make_targets(10)
    labels = LABELS[:10]

    def made(name: str, **changes: object) -> Cache:
        return make_cache_of(tmp_path / name, targets, labels, **changes)  # type: ignore[arg-type]

    only_logits = measure_classes(made("logits", targets=("logits",)), 0, 732)
    assert only_logits.tensors().keys() == {"counts", "prior", "distance"}
    only_channels = measure_classes(made("channels", targets=("channels",)), 0, 732)
    assert only_channels.tensors().keys() == {"counts", "centres"}
    assert only_channels.compared == 0
    source = replace(make_manifest(10).source, classes=("cat", "dog", "newt", "owl"))
    other_classes = measure_classes(made("other", source=source), 0, 732)
    assert other_classes.tensors().keys() == {"counts", "centres"}
    assert other_classes.counts.tolist() == [4, 3, 3, 0]
    cache = made("neither", targets=("logits",), source=source)
    assert "--targets embedding" in refused(lambda: measure_classes(cache, 0, 732))


def test_a_distance_between_too_many_classes_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shared.targets.cka.MOST_KEPT", 3 * 3 * 4 * 10)
    cache = make_cache_of(tmp_path, make_targets(30), LABELS)
    assert measure_classes(cache, 0, 9).compared == 9
    found = measure_classes(cache, 0, 732)
    assert found.tensors().keys() == {"counts", "centres", "prior"}
    assert "too many to compare" in capsys.readouterr().err


@every_format
def test_a_damaged_or_missing_block_is_refused(tmp_path: Path, store: str) -> None:
    cache = make_cache_of(tmp_path, make_targets(30), LABELS, store)
    for path in cache.receipt(0, 1).files:
        flip_middle_bit(tmp_path / "train" / path)
    assert "damaged" in refused(lambda: measure_classes(cache, 0, 732))
    manifest = make_manifest(10, store=store)
    empty = open_empty(tmp_path / "empty", manifest)
    assert "incomplete" in refused(lambda: measure_classes(empty, 0, 732))


def test_a_foreign_label_is_refused(tmp_path: Path) -> None:
    cache = make_cache_of(tmp_path, make_targets(10), [0, 1, 3] * 3 + [0])
    assert "the labels in" in refused(lambda: measure_classes(cache, 0, 732))


def test_mixed_views_have_no_class(tmp_path: Path) -> None:
    cache = make_cache_of(tmp_path, make_targets(10), LABELS[:10], augment="jitter=0.4:0.4:0.4:0.1")
    assert measure_classes(cache, 0, 732).counts.tolist() == [4, 3, 3]
    cache = make_cache_of(tmp_path / "mixed", make_targets(10), LABELS[:10], augment="mixup=0.2")
    assert "mix two images (mixup=0.2)" in refused(lambda: measure_classes(cache, 0, 732))


@every_format
def test_only_images_that_were_left_out(tmp_path: Path, store: str) -> None:
    cache = make_cache_of(tmp_path, make_targets(10), LABELS[:10], store, left_out=range(10))
    with pytest.raises(InputError, match="were left out"):
        measure_classes(cache, 0, 732)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    targets = make_targets(10)
    targets["logits"][4, 1] = torch.nan
    cache = make_cache_of(tmp_path, targets, LABELS[:10])
    assert "not finite" in refused(lambda: measure_classes(cache, 0, 732))
