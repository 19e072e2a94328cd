"""What all parts of a group's section share."""

from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from mmkd.comparison.groups import Group
from mmkd.comparison.rows import STUDENTS, Row
from mmkd.core.text import slug
from mmkd.report.page.album import Album, Figure

NETWORKS = ("teacher", *STUDENTS)  # rows that are networks, with records of their own


@dataclass
class GroupContext:
    """One group, its number on the page and where its figures go.

    Attributes:
        control: the method that changes are measured against.
        show_windows: whether the measured values of a window may be shown.
        notes: what could not be read; they are collected while the section is made.
    """

    number: int
    group: Group
    control: str
    album: Album
    show_windows: bool
    notes: list[str] = field(default_factory=list)

    @property
    def students(self) -> list[Row]:
        """The rows of students, those of controls last, as tables show them."""
        return [row for row in self.group.shown_rows if row.is_student]

    @property
    def methods(self) -> list[Row]:
        """The rows of students that are no controls; where there is none, the controls."""
        return [row for row in self.students if row.kind == "student"] or self.students

    def control_of(self, row: Row) -> Row | None:
        """The row that a row's change is measured against."""
        students = (other for other in self.group.rows if other.is_student)
        return next((other for other in students if other.name == row.control), None)

    def figure(self, name: str, title: str, caption: str, chart: ET.Element) -> Figure:
        """Add a figure of this group."""
        return self.album.figure(slug(self.group.title), name, title, caption, chart)

    def file_name(self, row: Row) -> str:
        """A row's name in names of files."""
        return f"{'teacher' if row.kind == 'teacher' else 'method'}-{slug(row.name)}"

    def id(self, row: Row) -> str:
        """The id of a row's details on the page."""
        return self.file_name(row).replace("-", f"-{self.number}-", 1)
