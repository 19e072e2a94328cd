"""An extension of griffe: lines of a doctest in a docstring become a block of code of the page."""

import re

import griffe

DOCTEST = re.compile(r"(?:^>>> .*\n?(?:^(?!\s*$).*\n?)*)", re.M)


class Doctests(griffe.Extension):
    """Fences around the examples of all docstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Called of each object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """A docstring with a fence around each doctest, and without the flags of doctests.

    >>> fenced("An example.\\n\\n>>> 1 + 1  # doctest: +SKIP\\n2\\n")
    'An example.\\n\\n```python\\n>>> 1 + 1\\n2\\n```\\n'
    """
    flag = re.compile(r"\s*# doctest: .*$", re.M)
    return DOCTEST.sub(lambda match: f"```python\n{flag.sub('', match[0]).rstrip()}\n```\n", text)
