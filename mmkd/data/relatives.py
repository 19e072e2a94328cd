"""Data sets of the same recordings: what is learnt of one is known of the others."""

RELATIVES: tuple[tuple[str, ...], ...] = (
    ("hapt", "ucihar"),  # thirty volunteers, recorded once: hapt, hapt6, hapt-dense, uci-har
    ("faceall", "facesucr"),
    ("distalphalanx", "middlephalanx", "proximalphalanx", "phalangesoutlines"),
    ("cricketx", "crickety", "cricketz"),
    ("uwavegesture",),
    ("freezer",),
    ("mixedshapes",),
    ("insectepg",),
    ("semghand",),
    ("pigairway", "pigart", "pigcvp"),
    ("gesturemidair",),
    ("gunpointage", "gunpointmale", "gunpointold"),
    ("dodgerloop",),
)
"""Sets that share recordings, or windows cut from them, by how their names begin: small letters without dashes."""
ARCHIVES = ("aeon-", "ucr-uea.")
"""How names begin of which the rest is the name of a set of an archive."""


def are_relatives(one: str, other: str) -> bool:
    """Whether two data sets are the same, or are made from the same recordings.

    >>> are_relatives("hapt6", "uci-har"), are_relatives("ucr-uea.GunPoint", "gunpoint"), are_relatives("msl", "smap")
    (True, True, False)
    """
    first, second = _bare(one), _bare(other)
    return first == second or any(first.startswith(names) and second.startswith(names) for names in RELATIVES)


def _bare(name: str) -> str:
    """The name without its archive, in small letters without dashes."""
    for archive in ARCHIVES:
        name = name.removeprefix(archive)
    return name.lower().replace("-", "").replace("_", "")
