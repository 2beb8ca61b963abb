"""metrics.csv in the run folder: a row for each epoch, in the columns of `names_of`.

    epoch,total,learning_rate,...,top1/val,...
    0,2.3025,0.1,...,41.5,...

The columns are the same from the first epoch to the last; a cell is empty where there is no number.
Numbers have all their digits, as in metrics.jsonl. The whole file is written after each epoch, from
the records of all epochs, so that a run that was killed and resumed has no epoch twice.
"""

import csv
import io

from shared.files.location import Location
from shared.files.objects import open_folder
from train.logs.scalars import Record, by_epoch, names_of

NAME = "metrics.csv"


class CsvTable:
    def __init__(
        self, folder: Location, terms: list[str], has_average: bool, records: list[Record]
    ) -> None:
        """`records`: those of the epochs before, if the run resumes."""
        self._files = open_folder(folder)
        self._columns = ["epoch", *names_of(terms, has_average)]
        if records:
            self.write(records)

    def write(self, records: list[Record]) -> None:
        text = io.StringIO()
        table = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        table.writeheader()
        for epoch, numbers in by_epoch(records).items():
            table.writerow({"epoch": epoch, **numbers})
        self._files.write(NAME, text.getvalue().encode())

    def close(self) -> None: ...
