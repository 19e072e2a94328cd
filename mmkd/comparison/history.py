"""The epochs of a record: losses and validation scores."""

import csv

from mmkd.core.errors import MmkdError
from mmkd.store.record import Record


def read_history(record: Record, notes: list[str]) -> list[dict[str, float]]:
    """A row an epoch with its losses and validation scores; empty where there is none."""
    if not record.has_files:
        notes.append("no learning curves of records from elsewhere (--records, --with): they came without them")
        return []
    try:
        with record.file("history.csv").open(newline="", encoding="utf-8") as stream:
            rows = [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(stream)]
        if any("epoch" not in row for row in rows):
            raise ValueError("a row without its epoch")
    except MmkdError as error:
        notes.append(f"no learning curve: {error}")
        return []
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        notes.append(f"no learning curve of {record.key}: {error}")
        return []
    return rows
