"""Modules made from stub files: every class, method, argument and default is the stub's.

A call whose name or arguments the stub does not know fails as it would in the real library. One that it
knows is answered by a behaviour (a function under "Class.method"), or raises NotImplementedError.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Behaviours = Mapping[str, Callable[..., Any]]
_IGNORED_BASES = ("Exception",)
_PROPERTY = "property"
# What every object of Python has; an enumeration's comparisons are made below.
_PYTHONS_OWN = (
    "__del__",
    "__eq__",
    "__ne__",
    "__hash__",
    "__repr__",
    "__str__",
    "__getstate__",
    "__setstate__",
)


def module_from_stub(stub: Path, behaviours: Behaviours) -> dict[str, Any]:
    """Name -> class, function or exception of the stub; raises ValueError for a behaviour that it lacks."""
    tree = _parsed(stub)
    namespace: dict[str, Any] = {}
    known: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            namespace[node.name] = _class(node, node.name, namespace, behaviours, known)
    for name, nodes in _functions(tree.body).items():
        known.add(name)
        namespace[name] = _callable(name, nodes, namespace, behaviours, has_self=False)
    if unknown := set(behaviours) - known:
        raise ValueError(f"{stub}: knows nothing of {sorted(unknown)}.")
    return namespace


@functools.cache
def _parsed(stub: Path) -> ast.Module:
    return ast.parse(stub.read_text(encoding="utf-8"))


def _class(
    node: ast.ClassDef, path: str, namespace: dict[str, Any], behaviours: Behaviours, known: set[str]
) -> type:
    bases = tuple(
        namespace.get(base.id, Exception if base.id in _IGNORED_BASES else object)
        for base in node.bases
        if isinstance(base, ast.Name)
    )
    members: dict[str, Any] = {"__module__": "double", "_settable": set()}
    enumerated: dict[str, str] = {}
    for item in node.body:
        if isinstance(item, ast.ClassDef):
            members[item.name] = _class(item, f"{path}.{item.name}", namespace, behaviours, known)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = ast.unparse(item.annotation)
            if annotation.startswith(("typing.ClassVar", "ClassVar")):
                enumerated[item.target.id] = annotation
            else:
                members["_settable"].add(item.target.id)
    for name, nodes in _functions(node.body).items():
        full = f"{path}.{name}"
        known.add(full)
        if _has_decorator(nodes[0], _PROPERTY):
            members[name] = _property(full, nodes, behaviours)
        else:
            is_static = _has_decorator(nodes[0], "staticmethod")
            made = _callable(full, nodes, namespace, behaviours, has_self=not is_static)
            members[name] = staticmethod(made) if is_static else made
    if not any(issubclass(base, BaseException) for base in bases):
        members.setdefault("__init__", _no_constructor(path))
        members["__setattr__"] = _guarded_setattr
    made_class = type(node.name, bases, members)
    _add_members(made_class, enumerated, members)
    return made_class


def _add_members(made: type, annotations: dict[str, str], members: dict[str, Any]) -> None:
    """Members of an enumeration: of the class itself, or of its nested class (ILogger.Severity)."""
    nested = next((value for value in members.values() if isinstance(value, type)), None)
    names = [name for name in annotations if not name.startswith("__")]
    for number, name in enumerate(names):
        if annotations[name].endswith("[int]"):  # no enumeration: a class that holds bits
            setattr(made, name, 1 << number)
            continue
        if nested is not None and hasattr(nested, name):
            setattr(made, name, getattr(nested, name))
            continue
        member = made.__new__(made)
        vars(member).update(name=name, value=number)
        setattr(made, name, member)
    if names:
        made.__index__ = made.__int__ = lambda self: vars(self)["value"]  # type: ignore[attr-defined]
        made.name = property(lambda self: vars(self)["name"])  # type: ignore[attr-defined]
        made.__repr__ = lambda self: f"{made.__name__}.{vars(self)['name']}"  # type: ignore[method-assign]
        made.__eq__ = lambda self, other: self is other  # type: ignore[method-assign,assignment]
        made.__hash__ = lambda self: id(self)  # type: ignore[method-assign,assignment]


def _functions(body: list[ast.stmt]) -> dict[str, list[ast.FunctionDef]]:
    found: dict[str, list[ast.FunctionDef]] = {}
    for item in body:
        if isinstance(item, ast.FunctionDef) and item.name not in _PYTHONS_OWN:
            found.setdefault(item.name, []).append(item)
    return found


def _has_decorator(node: ast.FunctionDef, name: str) -> bool:
    return any(ast.unparse(decorator) == name for decorator in node.decorator_list)


def _property(full: str, nodes: list[ast.FunctionDef], behaviours: Behaviours) -> property:
    def read(self: Any) -> Any:
        return _behaviour(full, behaviours)(self)

    def write(self: Any, value: Any) -> None:
        vars(self)[f"set:{full}"] = value

    is_settable = any(ast.unparse(mark).endswith(".setter") for node in nodes for mark in node.decorator_list)
    return property(read, write if is_settable else None)


def _callable(
    full: str,
    nodes: list[ast.FunctionDef],
    namespace: dict[str, Any],
    behaviours: Behaviours,
    *,
    has_self: bool,
) -> Callable[..., Any]:
    overloads = [_signature(node, has_self=has_self) for node in nodes]

    def call(*arguments: Any, **keywords: Any) -> Any:
        own, rest = (arguments[:1], arguments[1:]) if has_self else ((), arguments)
        bound = _bind(full, overloads, namespace, rest, keywords)
        return _behaviour(full, behaviours)(*own, *bound)

    call.__name__, call.__qualname__ = full.rpartition(".")[2], full
    return call


def _behaviour(full: str, behaviours: Behaviours) -> Callable[..., Any]:
    if full in behaviours:
        return behaviours[full]
    raise NotImplementedError(f"The double does not do {full}; the real library does.")


def _no_constructor(path: str) -> Callable[..., None]:
    def refuse(self: Any, *arguments: Any, **keywords: Any) -> None:
        raise TypeError(f"{path}: No constructor defined!")

    return refuse


def _guarded_setattr(self: Any, name: str, value: Any) -> None:
    kind = type(self)
    declared = any(name in vars(base).get("_settable", ()) for base in kind.__mro__)
    is_users_own = (
        vars(kind).get("__module__") != "double"
    )  # a class derived from the library's may hold more
    if not declared and not is_users_own and not isinstance(getattr(kind, name, None), property):
        raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'")
    object.__setattr__(self, name, value)


Checked = tuple[inspect.Signature, dict[str, str]]


def _signature(node: ast.FunctionDef, *, has_self: bool) -> Checked:
    arguments = [*node.args.posonlyargs, *node.args.args]
    defaults = [inspect.Parameter.empty] * (len(arguments) - len(node.args.defaults)) + node.args.defaults
    parameters, annotations = [], {}
    for argument, default in list(zip(arguments, defaults, strict=True))[1 if has_self else 0 :]:
        only_positional = argument.arg.startswith("__")
        kind = (
            inspect.Parameter.POSITIONAL_ONLY if only_positional else inspect.Parameter.POSITIONAL_OR_KEYWORD
        )
        value = default if default is inspect.Parameter.empty else _literal(default)
        parameters.append(inspect.Parameter(argument.arg, kind, default=value))
        annotations[argument.arg] = ast.unparse(argument.annotation) if argument.annotation else "Any"
    return inspect.Signature(parameters), annotations


def _literal(node: Any) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _bind(
    full: str, overloads: list[Checked], classes: Mapping[str, Any], arguments: Any, keywords: Any
) -> tuple[Any, ...]:
    problems = []
    for signature, kinds in overloads:
        try:
            bound = signature.bind(*arguments, **keywords)
        except TypeError as error:
            problems.append(str(error))
            continue
        wrong = [name for name, value in bound.arguments.items() if not _fits(value, kinds[name], classes)]
        if not wrong:
            bound.apply_defaults()
            return tuple(bound.arguments.values())
        problems.append(f"{wrong[0]} should be {kinds[wrong[0]]}")
    raise TypeError(f"{full}(): incompatible function arguments: {'; '.join(problems)}")


def _fits(value: Any, annotation: str, classes: Mapping[str, Any]) -> bool:
    """Whether a value suits an annotation, as far as that is a plain type or a class of the stub."""
    name = annotation.rpartition(".")[2]
    if name in ("int", "SupportsInt"):
        return hasattr(value, "__index__") or (name == "SupportsInt" and hasattr(value, "__int__"))
    if name == "str":
        return isinstance(value, str)
    if name == "bool":
        return isinstance(value, (bool, int))
    if name == "Buffer":
        return isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "__bytes__")
    if isinstance(classes.get(name), type):
        return isinstance(value, classes[name])
    return True
