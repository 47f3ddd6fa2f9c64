"""Who imports whom in the package, read from its source: what the tests about rooms look at."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

PACKAGE = "voice_provider"


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def graph(root: Path = ROOT, *, types_too: bool = True) -> dict[str, set[str]]:
    """Return for every module the modules of the package that it imports, also inside functions.

    :param types_too: count what is imported for type checkers only
    """
    known = modules(root)
    return {
        name: {
            target
            for node in _imports(ast.parse(path.read_text()), types_too=types_too)
            for target in _targets(node, known)
        }
        - {name}
        for name, path in known.items()
    }


def _imports(tree: ast.AST, *, types_too: bool) -> Iterable[ast.Import | ast.ImportFrom]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and not types_too and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        yield from _imports(node, types_too=types_too)


def _targets(node: ast.Import | ast.ImportFrom, known: Mapping[str, Path]) -> Iterable[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
    elif node.module in known:
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            yield name if name in known else node.module


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other, each sorted; none is what is wanted."""
    reached = {name: _reach(name, edges) for name in edges}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached.get(other, set())))
        for name in edges
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def _reach(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(edges[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(edges.get(name, ()))
    return seen
