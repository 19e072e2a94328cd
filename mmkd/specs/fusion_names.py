"""The parts of the name of a fusion with options, such as `freqfusion:bands=3`; what they mean, the fusion says."""

from mmkd.core.errors import MmkdError
from mmkd.core.text import shown


def kind_of_fusion(text: str) -> str:
    """The registered fusion in the name of a fusion with options.

    >>> kind_of_fusion("freqfusion:kernels=3-5-7"), kind_of_fusion("sum")
    ('freqfusion', 'sum')
    """
    return str(text).partition(":")[0]  # a damaged record holds anything


def fusion_options(text: str) -> dict[str, str]:
    """The options in the name of a fusion, as they are written.

    Raises:
        MmkdError: The text is not NAME or NAME:OPTION=VALUE:..., or an option stands there twice.

    >>> fusion_options("freqfusion:kernels=3-5-7:bands=2")
    {'kernels': '3-5-7', 'bands': '2'}
    """
    options: dict[str, str] = {}
    for part in text.split(":")[1:]:
        name, _, value = part.partition("=")
        if not name or not value:
            raise MmkdError(f"--fusion {shown(text)}: write NAME or NAME:OPTION=VALUE, such as freqfusion:bands=3")
        if name in options:
            raise MmkdError(f"--fusion {shown(text)}: {name} is given twice; give it once")
        options[name] = value
    return options
