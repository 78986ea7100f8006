"""The house rules that a machine can check: who may import whom, and who may name a protocol.

The layers themselves are written down in CONTRIBUTING.md, for people; this reads them there. The
last part of the file shows the checks failing on made-up code.
"""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

import tinyatv

SOURCE = pathlib.Path(tinyatv.__file__).parent
ROOT = SOURCE.parent
GUIDE = ROOT / "CONTRIBUTING.md"

PROTOCOLS = ("dmap", "mrp", "airplay", "companion", "raop")
TABLES = ("routes", "profiles")  # modules that exist to name protocols
LITERALS = 10  # protocol names that may stand anywhere else
LOADERS = ("import_module", "__import__")


# -- imports ---------------------------------------------------------------------------------------


class Package:
    """The modules of a package and who imports whom, read without running anything.

    Names are relative to the package: ``cli.words``; the package itself is ``""``. Imports inside
    functions count like any other. Those under ``if TYPE_CHECKING:`` do not, but in the
    ``__init__`` of a package they say where the names come from that it loads at first use: who
    takes ``connect`` from ``tinyatv`` imports ``connecting``.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.name = folder.name
        self.trees: dict[str, ast.Module] = {}
        self.paths: dict[str, pathlib.PurePath] = {}
        self._packages = set()
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
                self._packages.add(".".join(parts))
            module = ".".join(parts)
            self.trees[module] = ast.parse(path.read_text("utf-8"), str(path))
            self.paths[module] = path.relative_to(folder)
        self._exports = {
            module: {
                alias.asname or alias.name: self._source(module, node, alias.name)
                for node in ast.walk(self.trees[module])
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            for module in self._packages
        }
        self.imports = {module: self._imports(module) for module in self.trees}

    def _relative(self, dotted: str) -> str | None:
        """A full name without that of the package; None for what is not in it."""
        first, _, rest = dotted.partition(".")
        return rest if first == self.name else None

    def _base(self, module: str, node: ast.ImportFrom) -> str | None:
        """What stands between `from` and `import`; None for what is not in the package."""
        if not node.level:
            return self._relative(node.module or "")
        here = module.split(".") if module else []
        here = here[: len(here) + (module in self._packages) - node.level]
        return ".".join([*here, *([node.module] if node.module else [])])

    def _source(self, module: str, node: ast.ImportFrom, name: str) -> str | None:
        """Where `from ... import name` takes the name from: a module itself, or one that has it."""
        base = self._base(module, node)
        inside = f"{base}.{name}" if base else name
        return inside if base is not None and inside in self.trees else base

    def names_from(self, module: str) -> Iterator[tuple[str, str, str | None]]:
        """(name in this module, module it is from, name there or None for that module itself)."""
        for node in ast.walk(self.trees[module]):
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                source, base = self._source(module, node, alias.name), self._base(module, node)
                if source in self.trees:
                    yield alias.asname or alias.name, source, alias.name if source == base else None

    def _imports(self, module: str) -> set[str]:
        found: list[str | None] = []
        for node in _at_run_time(self.trees[module]):
            if isinstance(node, ast.Import):
                found += [self._relative(alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    source = self._source(module, node, alias.name)
                    found += [source, self._exports.get(source, {}).get(alias.name)]
            elif isinstance(node, ast.Attribute) and _dotted(node.value) == self.name:
                found.append(self._exports[""].get(node.attr))
            elif isinstance(node, ast.Call) and _dotted(node.func).endswith(LOADERS) and node.args:
                name = _text(node.args[0]) or ""
                tail = name.lstrip(".")
                found.append(self._base(module, ast.ImportFrom(tail, [], len(name) - len(tail))))
        return {target for target in found if target in self.trees} - {module}


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, those under `if TYPE_CHECKING:` left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _dotted(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from _at_run_time(other)
            continue
        yield child
        yield from _at_run_time(child)


def _dotted(node: ast.AST) -> str:
    """`a.b.c` as text; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return (inner := _dotted(node.value)) and f"{inner}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def circles(package: Package) -> list[set[str]]:
    """Modules that import each other, directly or around a corner."""
    reach: dict[str, set[str]] = {}
    for module in package.imports:
        seen: set[str] = set()
        todo = [module]
        while todo:
            for target in package.imports[todo.pop()] - seen:
                seen.add(target)
                todo.append(target)
        reach[module] = seen
    found: list[set[str]] = []
    for module, seen in reach.items():
        if module in seen and not any(module in circle for circle in found):
            found.append({other for other in seen if module in reach[other]})
    return found


# -- layers ----------------------------------------------------------------------------------------


def layers(guide: str) -> list[list[str]]:
    """The layers of a guide, the highest first: the lines of its block that is marked `layers`.

    What follows two spaces and a `#` in a line is an explanation.
    """
    (block,) = re.findall(r"^```layers\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE)
    rows = [line.partition("#")[0].split() for line in block.splitlines()]
    return [row for row in rows if row]


def not_downward(package: Package, rows: list[list[str]]) -> list[str]:
    """Imports that do not run down: to a higher layer, or to a neighbour in the same one.

    A name stands for a module, or for a folder with all that is in it; the longest one that fits a
    module counts. Within a folder only circles are forbidden.

    Raises:
        ValueError: A module has no layer, or something in a layer does not exist.
    """
    level = {name: number for number, row in enumerate(rows) for name in row}

    def home(module: str) -> str:
        name = module
        while name and name not in level:
            name = name.rpartition(".")[0]
        if not name:
            raise ValueError(f"{module} has no layer")
        used.add(name)
        return name

    used: set[str] = set()
    homes = {module: home(module) for module in package.imports if module}
    if missing := set(level) - used:
        raise ValueError(f"not there, but in a layer: {', '.join(sorted(missing))}")
    return sorted(
        f"{module} -> {target}"
        for module, targets in package.imports.items()
        for target in targets
        if module and target  # the package's own __init__ loads lazily, and holds the version
        and homes[module] != homes[target]
        and level[homes[module]] >= level[homes[target]]
    )  # fmt: skip


# -- names of protocols ----------------------------------------------------------------------------


def protocol_names(package: Package) -> list[str]:
    """`module:line name` of each place that names a protocol where it should not.

    Where it may be: in the tables, in the modules of that protocol (their file or folder starts
    with its name) and in text for people, which has other words in it. What is put together from
    pieces, spelt in capitals, in bytes, or as the keyword of a `dict(...)`, is a name as well, and
    so is each use of a constant that stands for one.
    """
    found = []
    for module, tree in package.trees.items():
        parts = package.paths[module].with_suffix("").parts
        if parts[-1] in TABLES:
            continue
        for line, name in sorted(_names(tree, _constants(package, module))):
            if not any(part.startswith(name) for part in parts):
                found.append(f"{module}:{line} {name}")
    return found


def _constants(package: Package, module: str) -> dict[str, str]:
    """The names in a module that stand for a protocol's: {"MRP": "mrp", "profiles.MRP": "mrp"}."""
    found = _assigned(package.trees[module])
    for local, source, name in package.names_from(module):
        there = _assigned(package.trees[source])
        if name is None:
            found.update({f"{local}.{constant}": text for constant, text in there.items()})
        elif name in there:
            found[local] = there[name]
    return found


def _assigned(tree: ast.Module) -> dict[str, str]:
    found = {}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts))
                for name, value in pairs:
                    if (text := _text(value) or "").casefold() in PROTOCOLS:
                        found[_dotted(name)] = text.casefold()
    return found


def _names(node: ast.AST, constants: dict[str, str]) -> Iterator[tuple[int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue  # a docstring
        if isinstance(child, (ast.Name, ast.Attribute)) and _dotted(child) in constants:
            if isinstance(child.ctx, ast.Load):
                yield child.lineno, constants[_dotted(child)]
            continue
        text = _text(child) if isinstance(child, ast.expr) else None
        if text is not None:
            words = re.findall(r"\w+", text.casefold())
            is_split = isinstance(node, ast.Attribute) and node.attr in ("split", "splitlines")
            if is_split or {*words} <= {*PROTOCOLS}:
                yield from ((child.lineno, word) for word in words if word in PROTOCOLS)
                continue
        if isinstance(child, ast.keyword) and child.arg in PROTOCOLS:
            yield child.value.lineno, child.arg
        yield from _names(child, constants)


def _text(node: ast.expr) -> str | None:
    """The text that an expression is if all that it is made of is written there; else None."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bytes):
            return node.value.decode("latin-1")
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.FormattedValue):
        return _text(node.value) if node.format_spec is None else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined([node.left, node.right])
    if isinstance(node, ast.JoinedStr):
        return _joined(node.values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        method, (first, *_) = node.func.attr, (*node.args, None)
        if method == "join" and isinstance(first, (ast.List, ast.Tuple)):
            between, pieces = _text(node.func.value), [_text(item) for item in first.elts]
            if between is not None and None not in pieces:
                return between.join(piece for piece in pieces if piece is not None)
    return None


def _joined(nodes: list[ast.expr]) -> str | None:
    pieces = [_text(node) for node in nodes]
    return None if None in pieces else "".join(piece or "" for piece in pieces)


# -- this project ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours():
    return Package(SOURCE)


def test_no_circles(ours):
    assert circles(ours) == []


def test_imports_run_down(ours):
    assert not_downward(ours, layers(GUIDE.read_text("utf-8"))) == []


def test_the_guide_names_files_that_exist():
    named = re.findall(r"(?<![>*\w])[\w/]*\w\.py\b", GUIDE.read_text("utf-8"))
    there = [
        f"/{p.relative_to(ROOT)}" for top in (SOURCE, ROOT / "tests") for p in top.rglob("*.py")
    ]
    assert "device.py" in named
    assert [name for name in named if not any(p.endswith(f"/{name}") for p in there)] == []


def test_no_test_module_imports_another():
    """What several of them need stands in tests/support/."""
    lines = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "tests").rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.match(r"\s*(from|import) [\w.]+.*\btest_\w+", line)
    }
    assert lines == set()


def test_protocols_are_named_in_few_places(ours):
    names = protocol_names(ours)
    assert len(names) <= LITERALS, "\n".join(names)


# -- the checks themselves -------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path):
    """A function that writes a package from {path: source} and reads it."""

    def make(sources):
        for path, source in {"__init__.py": "", **sources}.items():
            path = tmp_path / "toy" / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, "utf-8")
        return Package(tmp_path / "toy")

    return make


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("from . import b", "from . import a"),
        ("from .b import B", "from .a import A"),
        ("import toy.b", "import toy.a"),
        ("from toy import b", "def f():\n    from .a import A"),
        ("class A:\n    def f(self):\n        from . import b", "from toy.a import A"),
        ("from .c import C", "from . import a"),
        ("from importlib import import_module\nb = import_module('toy.b')", "from . import a"),
        ("import importlib\nb = importlib.import_module('.b', __package__)", "from . import a"),
        ("try:\n    from . import b\nexcept ImportError:\n    b = None", "from . import a"),
    ],
)
def test_a_circle_is_found(made, a, b):
    (circle,) = circles(made({"a.py": a, "b.py": b, "c.py": "from .b import C"}))
    assert {"a", "b"} <= circle


def test_a_circle_between_folders_is_found(made):
    sources = {
        "x/__init__.py": "",
        "x/one.py": "from ..y.two import Two",
        "y/__init__.py": "from .two import Two",
        "y/two.py": "def f():\n    from ..x import one",
    }
    assert circles(made(sources)) == [{"x.one", "y.two"}]


@pytest.mark.parametrize(
    "b",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import A",
        "import typing\nif typing.TYPE_CHECKING:\n    from . import a",
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from .a import A\nelse:\n    A = None",
        "import a",  # not ours
        "from a import b",
        "x = 'import toy.a'",
    ],
)
def test_what_is_no_circle(made, b):
    package = made({"a.py": "from . import b", "b.py": b})
    assert circles(package) == []
    assert package.imports["b"] == set()


def test_the_other_branch_of_type_checking_counts(made):
    b = "if TYPE_CHECKING:\n    pass\nelse:\n    from . import a"
    assert circles(made({"a.py": "from . import b", "b.py": b})) == [{"a", "b"}]


LAZY = "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from .top import connect as connect"


@pytest.mark.parametrize(
    "low",
    ["from . import connect", "from toy import connect", "def f():\n    from . import connect",
     "import toy\ndef f():\n    toy.connect()"],
)  # fmt: skip
def test_names_that_a_package_loads_at_first_use_are_imports_too(made, low):
    package = made({"__init__.py": LAZY, "top.py": "from .low import x", "low.py": low})
    assert circles(package) == [{"low", "top"}]


GUIDE_OF_TOYS = """
Text, and code that is no layer:

```python
top
```

```layers
top folder.high      # explained
folder               # the rest of it
left right
bottom
```
"""


def test_layers_are_read_from_the_guide():
    assert layers(GUIDE_OF_TOYS) == [
        ["top", "folder.high"], ["folder"], ["left", "right"], ["bottom"],
    ]  # fmt: skip


TOYS = {
    "top.py": "from .folder import low\nfrom . import bottom",
    "folder/__init__.py": "",
    "folder/high.py": "from .low import x",
    "folder/low.py": "from ..left import x\nfrom .beside import y",
    "folder/beside.py": "",
    "left.py": "from . import bottom",
    "right.py": "from . import bottom",
    "bottom.py": "import os",
}


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("bottom", "", []),
        ("bottom", "from . import left", ["bottom -> left"]),
        ("bottom", "def f():\n    from .top import x", ["bottom -> top"]),
        ("left", "from . import right", ["left -> right"]),
        ("folder/low", "from .high import x", ["folder.low -> folder.high"]),
        ("folder/low", "from .. import top", ["folder.low -> top"]),
        ("folder/high", "from .. import top", ["folder.high -> top"]),
        ("top", "from .folder.high import x", ["top -> folder.high"]),
        ("bottom", "if TYPE_CHECKING:\n    from . import top", []),
    ],
)
def test_imports_that_do_not_run_down_are_found(made, module, source, wrong):
    package = made({**TOYS, f"{module}.py": source})
    assert not_downward(package, layers(GUIDE_OF_TOYS)) == wrong


def test_layers_have_all_modules_and_nothing_else(made):
    rows = layers(GUIDE_OF_TOYS)
    with pytest.raises(ValueError, match="stray has no layer"):
        not_downward(made({**TOYS, "stray.py": ""}), rows)
    with pytest.raises(ValueError, match="not there, but in a layer: gone"):
        not_downward(made(TOYS), [["gone"], *rows, ["stray"]])


@pytest.mark.parametrize(
    "hidden",
    [
        'x = "mrp"',
        'x == "mrp"',
        '{"mrp": 1}',
        "dict(mrp=1)",
        'getattr(x, "mrp")',
        '"m" + "rp"',
        'x = "m" "rp"',
        '"m" + "r" + "p"',
        'f"mrp"',
        "f\"m{'rp'}\"",
        'f"{x}.mrp"',
        '"".join(["m", "rp"])',
        '"MRP".lower()',
        '"mrp".upper()',
        'b"mrp".decode()',
        '"none mrp".split()',
        '"mrp:"[:-1]',
        "def f(x='mrp'): pass",
        "def f() -> Literal['mrp']: ...",
    ],
)
def test_the_eleventh_name_of_a_protocol_is_found(made, hidden):
    ten = {"a.py": "x = {'dmap', 'mrp', 'airplay', 'companion', 'raop'}\n" * 2}
    assert len(protocol_names(made(ten))) == LITERALS
    assert protocol_names(made({**ten, "b.py": hidden}))[LITERALS:] == ["b:1 mrp"]


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from .routes import MRP\nif x == MRP: pass", 1),
        ("from .routes import MRP as M\nif x == M: pass\ny = M", 2),
        ("from . import routes\nif x == routes.MRP: pass", 1),
        ("def f():\n    from toy.routes import RAOP\n    return RAOP", 1),
        ("from .routes import OTHER\nx = OTHER", 0),
        ("X = 'mrp'\ny = X", 2),
        ("X, Y = 'mrp', 1\ny = Y", 1),
    ],
)
def test_each_use_of_a_constant_names_the_protocol(made, source, count):
    table = "MRP, RAOP = 'mrp', 'raop'\nOTHER = 'other'"
    assert len(protocol_names(made({"routes.py": table, "a.py": source}))) == count


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("routes.py", "x = 'mrp'"),
        ("virtual/profiles.py", "x = 'mrp'"),
        ("backends/mrp.py", "x = 'mrp'"),
        ("backends/mrp_pairing.py", "x = 'mrp'"),
        ("mrp/__init__.py", "x = 'mrp'"),
        ("a.py", "'mrp'"),
        ("a.py", "class A:\n    x = 1\n    'mrp'"),
        ("a.py", "x = f'no reply over mrp from {y}'"),
        ("a.py", "x = 'over MRP or AirPlay'"),
        ("a.py", "x = 'mrpx'"),
        ("a.py", "mrp = x.mrp"),
        ("a.py", "x = '' + ''"),
    ],
)
def test_where_a_protocol_may_be_named(made, path, source):
    assert protocol_names(made({path: source})) == []


@pytest.mark.parametrize("path", ["backends/mrp.py", "virtual/dmap_about.py", "route.py"])
def test_a_protocol_may_not_name_another(made, path):
    assert protocol_names(made({path: "x = 'companion'"})) == [
        f"{path[:-3].replace('/', '.')}:1 companion"
    ]
