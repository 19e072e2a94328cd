"""How an optional part of mmkd is installed, in the same words in every message."""


def how_to_install(extra: str, *, constrained: bool = True) -> str:
    """What a message says of an extra that is missing.

    Args:
        extra: its name in pyproject.toml, such as "tsai".
        constrained: whether its packages fit constraints.txt of a clone; those of aeon do not.
    """
    pins = "-c constraints.txt " if constrained else ""
    return f"install the extra mmkd[{extra}], in a clone: python -m pip install {pins}-e '.[{extra}]'"
