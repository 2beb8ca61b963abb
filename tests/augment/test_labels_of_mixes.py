"""Both formats know the two labels of a mixed view: shards store them, zarr draws them again."""

import numpy as np
import pytest
import torch

from precompute.cache_statistics import measure
from shared.store.labelled import labelled_rows
from shared.store.opening import open_cache
from tests.augment.conftest import SAMPLES, Made


@pytest.mark.slow
def test_both_formats_have_the_same_labels_and_weights(made: Made) -> None:
    found = {}
    for store in ("zarr", "webdataset"):
        partner, share = np.full((2, SAMPLES), -1), np.zeros((2, SAMPLES))
        cache = open_cache(made.cache(store), "train")
        for view in (0, 1):
            for rows in labelled_rows(cache, view, ["pred"]):
                assert rows.partner is not None and rows.share is not None
                partner[view, rows.index], share[view, rows.index] = rows.partner, rows.share
        found[store] = np.where(share < 1, partner, -1), share
    for mine, theirs in zip(*found.values(), strict=True):
        assert np.array_equal(mine, theirs)
    assert (found["zarr"][1] < 1).mean() > 0.5


@pytest.mark.slow
def test_the_loss_counts_both_labels(made: Made) -> None:
    cache = open_cache(made.cache("webdataset"), "train")
    expected, right = np.zeros(SAMPLES), 0
    for view in (0, 1):
        for rows in labelled_rows(cache, view, ["logits", "pred"]):
            assert rows.partner is not None and rows.share is not None
            loss = -rows.fields["logits"].double().log_softmax(1).numpy()
            row = np.arange(len(loss))
            mixed = rows.share * loss[row, rows.labels]
            mixed += (1 - rows.share) * loss[row, rows.partner]
            expected[rows.index] += mixed
            main = torch.from_numpy(np.where(rows.share >= 0.5, rows.labels, rows.partner))
            right += int((rows.fields["pred"] == main).sum())
    found = measure(cache, [0, 1])
    np.testing.assert_allclose(found.loss, expected, rtol=1e-5)
    assert found.accuracy == right / (2 * SAMPLES) and found.guided == 0
