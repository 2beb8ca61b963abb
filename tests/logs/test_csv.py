"""metrics.csv: the numbers of metrics.jsonl, a row for each epoch, also after a kill."""

import csv
from pathlib import Path

from tests.runs import TIMINGS
from train.logs.csv_table import CsvTable
from train.logs.scalars import by_epoch, names_of
from train.run_files import read_metrics


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def is_timing(column: str) -> bool:
    return column.partition("/")[0] in TIMINGS


def test_cells_have_every_digit_of_the_records(whole: Path) -> None:
    records, table = read_metrics(whole), rows(whole)
    assert [int(row["epoch"]) for row in table] == [0, 1, 2]
    for record in records:
        row, split = table[record["epoch"]], record["split"]
        for name in ("top1", "top5", "seconds", "images_per_second"):
            assert float(row[f"{name}/{split}"]) == record[name]
        if split == "train":
            assert float(row["total"]) == record["total"]
            assert float(row["learning_rate"]) == record["learning_rate"]
            assert float(row["seconds_left"]) == record["seconds_left"]
            for group in ("loss", "weight"):
                for term, value in record[group].items():
                    assert float(row[f"{group}/{term}"]) == value
        else:
            assert float(row["cross_entropy/val"]) == record["cross_entropy"] > 0
            for name, value in record["raw"].items():
                assert float(row[f"{name}/val raw"]) == value
    assert [row["top1/val"] == "" for row in table] == [True, False, False], "every second one"
    assert float(table[0]["seconds_left"]) > 0 == float(table[-1]["seconds_left"])


def test_columns_are_known_before_the_first_validation(whole: Path) -> None:
    columns = [name for name in rows(whole)[0] if name != "epoch"]
    assert columns == names_of(["ce", "gkd", "cd"], has_average=True)
    assert set(columns) == {name for row in by_epoch(read_metrics(whole)).values() for name in row}
    plain = names_of(["ce", "gkd", "cd"], has_average=False)
    assert plain == [name for name in columns if not name.endswith(" raw")]


def test_after_a_kill_it_is_that_of_an_unbroken_run(whole: Path, resumed: Path) -> None:
    mine, theirs = rows(resumed), rows(whole)
    assert list(mine[0]) == list(theirs[0])
    for one, other in zip(mine, theirs, strict=True):
        differing = {name for name in one if one[name] != other[name]}
        assert all(map(is_timing, differing)), differing


def test_a_run_that_is_resumed_gets_the_epochs_before(whole: Path, tmp_path: Path) -> None:
    """Also those of earlier versions, which had no val loss; a table of them is replaced whole."""
    records = read_metrics(whole)
    for record in records:
        record.pop("cross_entropy", None)
        record.pop("seconds_left", None)
    (tmp_path / "metrics.csv").write_text("epoch\n0\n1\n2\n3\n")
    table = CsvTable(tmp_path, ["ce", "gkd", "cd"], True, records[:1])
    assert [row["epoch"] for row in rows(tmp_path)] == ["0"]
    table.write(records)
    after = rows(tmp_path)
    assert [row["epoch"] for row in after] == ["0", "1", "2"]
    assert after[1]["cross_entropy/val"] == after[1]["seconds_left"] == ""
    assert float(after[1]["top1/val"]) == records[2]["top1"]


def test_an_empty_run_has_no_table_yet(tmp_path: Path) -> None:
    CsvTable(tmp_path, ["ce"], False, [])
    assert not (tmp_path / "metrics.csv").exists()
