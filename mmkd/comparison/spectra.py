"""The spectra of the filters of a method, as its record has them."""

from zipfile import BadZipFile

from mmkd.core.errors import MmkdError
from mmkd.drawing.spectra import FilterSpectra
from mmkd.store.record import Record
from mmkd.store.spectra import NAME, read_spectra


def record_spectra(record: Record, notes: list[str]) -> list[FilterSpectra]:
    """The filters of a record; none where it has no spectra. What cannot be read is noted."""
    if NAME not in record.result.get("files", {}):
        return []
    try:
        return read_spectra(record.file(NAME))
    except MmkdError as error:
        notes.append(f"no spectra: {error}")
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        notes.append(f"{NAME} of {record.key} cannot be read: {' '.join(str(error).split())[:120]}")
    return []
