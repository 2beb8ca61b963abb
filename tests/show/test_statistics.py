"""The numbers of precompute/show.py equal those that NumPy computes from the logits by hand."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from precompute.cache_statistics import BINS, measure
from precompute.complete_views import complete_views
from precompute.worst_labelled import as_csv, worst_labelled
from shared.store.opening import Cache
from tests.show.caches import KEPT, LABELS, NAMES, SAMPLES, VIEWS, WRONG, logits_of, make
from tests.small_cache import make_keys
from tests.stores import every_format, refused


def by_hand(views: int = VIEWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(V, n) of the samples that are not left out: answers, losses, confidences."""
    logits = logits_of()[:views, KEPT].double().numpy()
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    loss = -np.log(chances[:, np.arange(len(KEPT)), LABELS[KEPT]])
    return logits.argmax(-1), loss, chances.max(-1)


@every_format
def test_the_numbers_are_those_computed_by_hand(tmp_path: Path, store: str) -> None:
    cache = make(tmp_path, store)
    found = measure(cache, complete_views(cache))
    answers, loss, confidence = by_hand()
    right = answers == LABELS[KEPT]
    assert found.samples == len(KEPT) < SAMPLES
    assert [of.right for of in found.of_view] == right.sum(1).tolist()
    assert [of.guided for of in found.of_view] == right.sum(1).tolist()
    assert found.accuracy == right.mean()
    for mine, theirs in (("loss", loss), ("confidence", confidence)):
        sums = [getattr(of, mine) for of in found.of_view]
        np.testing.assert_allclose(sums, theirs.sum(1), rtol=1e-5)
    edges = np.linspace(0, 1, BINS + 1)
    assert found.in_bin.tolist() == np.histogram(confidence, edges)[0].tolist()
    assert found.right_in_bin.tolist() == np.histogram(confidence[right], edges)[0].tolist()
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    off = sum(abs((right - confidence)[bins == one].sum()) for one in range(BINS))
    assert found.calibration_error == pytest.approx(off / right.size, rel=1e-5)


@every_format
def test_a_planted_wrong_label_is_the_first_of_the_worst(tmp_path: Path, store: str) -> None:
    cache = make(tmp_path, store)
    worst = worst_labelled(measure(cache, [0, 1, 2]), cache, None, NAMES)
    answers, loss, _ = by_hand()
    assert (worst[0].index, worst[0].key) == (WRONG, make_keys(SAMPLES)[WRONG])
    assert (worst[0].label, worst[0].answer) == (NAMES[LABELS[WRONG]], "cat")
    assert (worst[0].votes, worst[0].views) == (VIEWS, VIEWS)
    means = loss.mean(0)
    assert [one.index for one in worst] == [KEPT[place] for place in np.argsort(-means)]
    np.testing.assert_allclose([one.loss for one in worst], np.sort(means)[::-1], rtol=1e-5)
    for one in worst:
        votes = np.bincount(answers[:, KEPT.index(one.index)], minlength=3)
        assert (one.answer, one.votes) == (NAMES[votes.argmax()], votes.max())


def test_the_list_is_a_table_that_any_program_reads(tmp_path: Path) -> None:
    cache = make(tmp_path)
    worst = worst_labelled(measure(cache, [0]), cache, None, NAMES)
    rows = list(csv.DictReader(io.StringIO(as_csv(worst).decode())))
    assert len(rows) == len(KEPT)
    assert rows[0]["key"] == worst[0].key and int(rows[0]["index"]) == WRONG
    assert float(rows[0]["loss"]) == pytest.approx(worst[0].loss, rel=1e-5)
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("codec", [pytest.param("half", marks=pytest.mark.slow), "tiny"])
def test_every_codec_gives_nearly_the_same(tmp_path: Path, codec: str) -> None:
    """`compact` and `tiny` derive the logits from the channel means."""
    exact = make(tmp_path / "exact", codec="exact" if codec == "half" else "compact")
    mine, theirs = (measure(c, [0, 1, 2]) for c in (make(tmp_path / codec, codec=codec), exact))
    assert [of.right for of in mine.of_view] == [of.right for of in theirs.of_view]
    np.testing.assert_allclose(mine.loss, theirs.loss, atol=0.05)
    np.testing.assert_allclose(mine.channel_means, theirs.channel_means, atol=5e-3)


def channel_values(cache: Cache) -> np.ndarray:
    blocks = [cache.read_block(0, block, ["channels"]) for block in range(cache.manifest.blocks)]
    return np.concatenate([block["channels"] for block in blocks])[KEPT].astype(float)


def test_channel_means_are_those_of_the_first_view(tmp_path: Path) -> None:
    cache = make(tmp_path)
    found = measure(cache, [0, 1, 2])
    np.testing.assert_allclose(found.channel_means, channel_values(cache).mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.channel_deviations, channel_values(cache).std(0), rtol=1e-6)


def test_an_incomplete_cache_shows_its_complete_views(tmp_path: Path) -> None:
    cache = make(tmp_path, until=2)
    assert complete_views(cache) == [0, 1]
    answers, *_ = by_hand(2)
    assert measure(cache, [0, 1]).accuracy == (answers == LABELS[KEPT]).mean()
    nothing = make(tmp_path / "empty", until=0)
    assert "0 of the 4 blocks of view 0 are finished" in refused(lambda: complete_views(nothing))


def test_what_the_cache_lacks_is_left_out(tmp_path: Path) -> None:
    without_logits = measure(make(tmp_path / "a", targets=("channels",)), [0, 1, 2])
    answers, *_ = by_hand()
    assert without_logits.accuracy == (answers == LABELS[KEPT]).mean()  # of the stored answers
    assert not without_logits.has_loss and not without_logits.in_bin.any()
    without_channels = measure(make(tmp_path / "b", targets=("logits",)), [0])
    assert without_channels.has_loss and not without_channels.channel_means.any()


@pytest.mark.slow
@every_format
def test_only_images_that_were_left_out(tmp_path: Path, store: str) -> None:
    cache = make(tmp_path, store, left_out=range(SAMPLES))
    assert "were left out" in refused(lambda: measure(cache, [0]))
