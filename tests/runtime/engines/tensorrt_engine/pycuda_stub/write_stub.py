"""Write pycuda/driver.pyi from pycuda itself: Boost.Python puts each signature into the docstring.

    python tests/runtime/engines/tensorrt_engine/pycuda_stub/write_stub.py > .../pycuda_stub/pycuda/driver.pyi

Needs pycuda where it is importable (a CUDA driver, or a library that has its symbols); no GPU is used.
"""

from __future__ import annotations

import re
import sys
from typing import Any

CLASSES = ("Device", "Context", "Stream", "Event", "DeviceAllocation", "PagelockedHostAllocation")
ENUMS = ("device_attribute", "host_alloc_flags", "event_flags", "ctx_flags")
EXCEPTIONS = ("Error", "MemoryError", "LogicError", "LaunchError", "RuntimeError")
_TYPES = {
    "int": "int",
    "float": "float",
    "bool": "bool",
    "str": "str",
    "None": "None",
    "tuple": "tuple[Any, ...]",
}
_ARGUMENT = re.compile(r"(\[?)[, ]*\((\w+)\)(\w+)(?:=([^\[\],)]+))?")


def definitions(name: str, docstring: str, *, bases: tuple[str, ...] = ()) -> list[str]:
    """The overloads of a function, or of a method of a class with these bases, each as a line of a stub."""
    indent = "    " if bases else ""
    lines = []
    for arguments, result in re.findall(rf"^{name}\((.*)\) -> (\w+) :$", docstring, re.MULTILINE):
        parts = _ARGUMENT.findall(arguments)
        has_self = bool(bases) and bool(parts) and parts[0][1] in (*bases, "object")
        texts = (["self"] if has_self else []) + [_argument(*part) for part in parts[1 if has_self else 0 :]]
        static = f"{indent}@staticmethod\n" if bases and not has_self else ""
        returned = "None" if name == "__init__" else _type(result)
        lines.append(f"{static}{indent}def {name}({', '.join(texts)}) -> {returned}: ...")
    lines = list(dict.fromkeys(lines))
    return [f"{indent}@overload\n{line}" for line in lines] if len(lines) > 1 else lines


def _argument(optional: str, kind: str, name: str, default: str) -> str:
    shown = f"__{name}" if re.fullmatch(r"arg\d+", name) else name  # Boost's own names take no keyword
    ending = f" = {default.strip()}" if default else " = ..." if optional else ""
    return f"{shown}: {_type(kind)}{ending}"


def _type(name: str) -> str:
    return _TYPES.get(name, name if name in (*CLASSES, *ENUMS) else "Any")


def class_stub(name: str, kind: Any) -> list[str]:
    """A class with its methods and properties."""
    lines = [f"class {name}:"]
    bases = [base for base in kind.__mro__ if base.__module__.startswith("pycuda")]
    names = tuple(base.__name__ for base in bases)
    for attribute in sorted({key for base in bases for key in vars(base)}):
        value = getattr(kind, attribute)
        if isinstance(value, property):
            lines.append(f"    @property\n    def {attribute}(self) -> int: ...")
        elif callable(value) and (attribute in ("__init__", "__int__") or not attribute.startswith("_")):
            lines += definitions(attribute, value.__doc__ or "", bases=names)
    return lines


def main() -> None:
    """Print the stub."""
    from pycuda import VERSION_TEXT, _driver

    print(
        f"# Read off pycuda {VERSION_TEXT} by write_stub.py: names, arguments and defaults; no documentation."
    )
    print("\nfrom typing import Any, ClassVar, overload\n")
    for name in EXCEPTIONS:
        base = "Exception" if name == "Error" else "Error"
        print(f"class {name}({base}): ...")
    for name in ENUMS:
        print(f"\nclass {name}:")
        kind = getattr(_driver, name)
        for key in sorted(key for key in dir(kind) if key.isupper()):
            print(f"    {key}: ClassVar[{name if isinstance(getattr(kind, key), kind) else 'int'}]")
    for name in CLASSES:
        print("\n" + "\n".join(class_stub(name, getattr(_driver, name))))
    print()
    for name in sorted(dir(_driver)):
        value = getattr(_driver, name)
        if type(value).__name__ == "function":
            print("\n".join(definitions(name, value.__doc__ or "")))


if __name__ == "__main__":
    sys.exit(main())
