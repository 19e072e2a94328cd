"""Figures of the spectral filters of a method: the maps before and after them, and their magnitude."""

from mmkd.comparison.rows import Row
from mmkd.comparison.spectra import record_spectra
from mmkd.core.text import slug
from mmkd.drawing.spectra import FilterSpectra, spectra_chart
from mmkd.report.page.album import Figure
from mmkd.report.page.context import GroupContext
from mmkd.report.page.words import count

MEANING = (
    "Power: log10, mean over windows and channels. abs(H): magnitude of the filter, root mean square over channels. "
    "Lines around, or across, mark where its mask begins to keep half of the energy."
)
IN_THE_MIDDLE = " Heat maps have the mean in the middle; plots are means over rings around it."


def spectra_figures(context: GroupContext, row: Row) -> list[Figure]:
    """A figure for each teacher, of the first unit of a row that has spectra on record."""
    for unit in row.members:
        filters = record_spectra(unit.record, context.notes) if unit.record is not None else []
        if filters:
            return _figures(context, row, context.group.label(unit), filters)
    return []


def _figures(context: GroupContext, row: Row, unit: str, filters: list[FilterSpectra]) -> list[Figure]:
    """Filters whose names begin alike, as in `gaf: stage1 to stage1`, are one figure."""
    groups: dict[str, list[FilterSpectra]] = {}
    for one in filters:
        groups.setdefault(one.name.partition(":")[0], []).append(one)
    figures = []
    for name, own in groups.items():
        title = f"Spectra of the filters: {name}"
        caption = f"{unit}, {count(own[0].windows, 'training window')}, weights of the last epoch. {MEANING}"
        caption += IN_THE_MIDDLE if any(len(one.size) == 2 for one in own) else ""
        chart = spectra_chart(title, f"{row.name}: {caption}", own)
        figures.append(context.figure(f"{context.file_name(row)}-spectra-{slug(name)}", title, caption, chart))
    return figures
