"""The option `teacher_weights`: how the distillation loss is divided among several teachers."""

from collections.abc import Iterable

from mmkd.core.errors import MmkdError, did_you_mean


def teacher_shares(text: str, teachers: Iterable[str]) -> dict[str, float]:
    """Parse the option `teacher_weights` into one share for each teacher.

    >>> teacher_shares("sig=3,gaf=1", ["sig", "gaf"])
    {'sig': 0.75, 'gaf': 0.25}

    Args:
        text: "equal", or a weight >= 0 for each teacher such as "sig=0.5,gaf=0.2,pi=0.3".
        teachers: the modalities of the teachers.

    Returns:
        modality -> share; the shares sum to 1.

    Raises:
        MmkdError: A teacher is unknown, missing or named twice, a weight is not a number >= 0, all weights are 0, or
            the text is "search" (the shares have not been searched yet).
    """
    names = list(teachers)
    if text == "equal":
        return dict.fromkeys(names, 1 / len(names))
    if text == "search":
        raise MmkdError("teacher-weights search: the shares have not been searched; mmkd.bench and mmkd.run do so")
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, sign, number = part.partition("=")
        name = name.strip()
        if name in weights:
            raise MmkdError(f"teacher-weights {text!r}: {name} is there twice; give each teacher one weight")
        try:
            weights[name] = float(number)
        except ValueError:
            sign = ""
        if not sign:
            raise MmkdError(f"teacher-weights: {part!r} is not of the form sig=0.5")
    for name in weights:
        if name not in names:
            raise MmkdError(f"teacher-weights names {name!r}{did_you_mean(name, names)}; teachers: {', '.join(names)}")
    missing = [name for name in names if name not in weights]
    total = sum(weights.values())
    if missing or not all(weight >= 0 for weight in weights.values()) or not 0 < total < float("inf"):
        raise MmkdError(f"teacher-weights {text!r}: give each of {', '.join(names)} a weight >= 0, not all of them 0")
    return {name: weights[name] / total for name in names}
