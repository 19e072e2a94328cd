"""`python -m mmkd`: the version, and every command with what it is for."""

import ast
from pathlib import Path

import mmkd


def find_commands(package: Path) -> dict[str, str]:
    """Name of each module that is a command -> the first sentence of its docstring; nothing is imported.

    Args:
        package: the folder of the package: its modules with `if __name__ == "__main__"`, its packages with `__main__`.
    """
    found = {}
    for path in sorted((*package.glob("[!_]*.py"), *package.glob("[!_]*/__main__.py"))):
        text = path.read_text(encoding="utf-8")
        if path.name == "__main__.py" or '\nif __name__ == "__main__":' in text:
            name = path.parent.name if path.name == "__main__.py" else path.stem
            first = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
            found[name] = first.partition("`: ")[2].partition(". ")[0].rstrip(".") or first
    return found


def main() -> int:
    """Print the version and the commands; returns the exit code."""
    commands = find_commands(Path(mmkd.__file__).parent)
    print(f"mmkd {mmkd.__version__}: multimodal knowledge distillation on time series\n")
    width = max(map(len, commands))
    for name, words in commands.items():
        print(f"  python -m mmkd.{name:<{width}}  {words}")
    print("\nto begin:  python -m mmkd.bench --method student,kd,fam\nhelp:      python -m mmkd.bench --help")
    return 0
