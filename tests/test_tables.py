"""A table of protocol numbers stands once, below both ends: in ``proto/`` or ``wire/*_codes.py``.

What is compared is what the source says, read with ``ast``: nothing is imported.
"""

import ast
import itertools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1] / "tinyatv"
TABLES = [ROOT / "proto" / "commands.py", *sorted((ROOT / "wire").glob("*_codes.py"))]
ENDS = [*sorted((ROOT / "backends").glob("*.py")), *sorted((ROOT / "virtual").glob("*.py"))]
OTHERS = [ROOT / "decode.py", *sorted((ROOT / "proxy").glob("*.py"))]  # may use them, too

SAME = 3  # entries that two tables must share to be two of one; small numbers are everywhere
TELLING = 6  # characters, or digits; what is longer is not the same by chance


def words(name):
    """The words of a name, so that END_FAST_FORWARD and "fast_forward" have some in common."""
    return frozenset(re.findall(r"[a-z]+", name.lower()))


def constant(node):
    return node.value if isinstance(node, ast.Constant) else None


def is_number(node):
    return type(constant(node)) is int


def name_of(node):
    """What a node is called: text, a name, the last part of an attribute; None of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return constant(node) if isinstance(constant(node), str) else None


def pairs(node):
    """(name, number) of everything in an assignment or dictionary that is written out."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values):
            for name, number in ((key, value), (value, key)):
                if name_of(name) is not None and is_number(number):
                    yield name_of(name), constant(number)
    elif isinstance(node, ast.Assign):
        target = node.targets[0]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for name, number in zip(target.elts, node.value.elts):
                if is_number(number):
                    yield name_of(name) or "", constant(number)
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Call):
            if name_of(node.value.func) == "range":
                arguments = [constant(one) for one in node.value.args]
                for name, number in zip(target.elts, range(*arguments)):
                    yield name_of(name) or "", number
        elif is_number(node.value) and name_of(target):
            yield name_of(target), constant(node.value)


def written_tables(tree):
    """Tables in a module: each dictionary, each tuple of names, and single names taken together."""
    single = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) or (
            isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)
        ):
            found = list(pairs(node))
            if len(found) >= SAME:
                yield node.lineno, found
    for node in tree.body:
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Dict):
            single += [(node.lineno, pair) for pair in pairs(node)]
    if single:
        yield single[0][0], [pair for _, pair in single]


def common(one, other):
    """The entries that two tables share: the same number under names that share a word."""
    return {
        (number, name)
        for name, number in one
        for name2, number2 in other
        if number == number2 and words(name) & words(name2)
    }


def telling(tree):
    """Texts and numbers with a name of their own that nobody else has by chance."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            value = constant(node.value)
            long = isinstance(value, (str, bytes)) and len(value) > TELLING
            if long or (is_number(node.value) and value >= 10**TELLING):
                yield value


def everything_written(tree):
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def second_tables(tables, ends):
    """What stands twice.

    Args:
        tables: Sources of the modules that own tables, by name.
        ends: Sources of modules of both ends, by name; what is before the slash is the end.
    """
    owned = {name: ast.parse(source) for name, source in tables.items()}
    trees = {name: ast.parse(source) for name, source in ends.items()}
    complaints = []
    for name, tree in trees.items():
        for line, table in written_tables(tree):
            for owner, owner_tree in owned.items():
                for _, other in written_tables(owner_tree):
                    if len(common(table, other)) >= SAME:
                        complaints.append(f"{name}:{line} repeats what {owner} has")
        for owner, owner_tree in owned.items():
            texts = set(telling(owner_tree))
            complaints += [
                f"{name} writes {value!r} out, which {owner} has"
                for value in everything_written(tree) & texts
            ]
    for (name, tree), (name2, tree2) in itertools.combinations(trees.items(), 2):
        if name.partition("/")[0] == name2.partition("/")[0]:
            continue
        for (line, table), (line2, other) in itertools.product(
            written_tables(tree), written_tables(tree2)
        ):
            if len(common(table, other)) >= SAME:
                complaints.append(f"{name}:{line} and {name2}:{line2} are one table")
    return complaints


def sources(paths):
    return {f"{path.parent.name}/{path.name}": path.read_text("utf-8") for path in paths}


def defined(tree):
    """Public names that a module of tables gives."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for one in ast.walk(node.targets[0]):
                if isinstance(one, ast.Name) and not one.id.startswith("_"):
                    yield one.id


def used(tree, module):
    """Names of a module of tables that another one uses: ``commands.PLAY``, or imported alone."""
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for one in node.names:
                if one.name == module:
                    aliases.add(one.asname or one.name)
                elif (node.module or "").rpartition(".")[2] == module:
                    yield one.name
    for node in ast.walk(tree):
        # In capitals: a variable of another function may be called as the module is.
        if (
            isinstance(node, ast.Attribute)
            and name_of(node.value) in aliases
            and node.attr.isupper()
        ):
            yield node.attr


# -- the package -----------------------------------------------------------------------------------


def test_each_table_stands_once():
    assert second_tables(sources(TABLES), sources(ENDS)) == []


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_names_of_tables_are_those_in_use(path):
    given = set(defined(ast.parse(path.read_text("utf-8"))))
    uses = {
        end: {
            name
            for one in paths
            for name in used(ast.parse(one.read_text("utf-8")), path.stem)
        }
        for end, paths in (
            ("backends", [one for one in ENDS if one.parent.name == "backends"]),
            ("virtual", [one for one in ENDS if one.parent.name == "virtual"]),
            ("others", OTHERS),
        )
    }  # fmt: skip
    assert uses["backends"] | uses["virtual"] | uses["others"] <= given
    assert uses["backends"] & uses["virtual"], "a table that one end alone needs belongs there"


# -- the test itself -------------------------------------------------------------------------------

OWNER = """
PLAY, PAUSE = 1, 2
NEXT = 3
BUTTONS = {"up": 7, "down": 8, "left": 9}
STREAM_TYPE = "1910A70F-DBC0-4242-AF95-115DB30604E1"
EPOCH = 978307200
"""


@pytest.mark.parametrize("copy", [
    'WORDS = {1: "play", 2: "pause", 3: "next"}',
    "BUTTONS = {'up': 7, 'down': 8, 'left': 9, 'right': 10}",
    "PLAY_COMMAND, PAUSE_COMMAND, NEXT_COMMAND = 1, 2, 3",
    "PLAY, PAUSE, NEXT = range(1, 4)",
    "PLAY = 1\nPAUSE = 2\n\n\ndef f():\n    pass\n\n\nNEXT = 3",
    "STATES = {1: State.Play, 2: State.Pause, 3: State.Next}",
    "def f():\n    return {'key_up': 7, 'key_down': 8, 'key_left': 9}",
    'KIND = "1910A70F-DBC0-4242-AF95-115DB30604E1"',
    'def f():\n    return {"type": "1910A70F-DBC0-4242-AF95-115DB30604E1"}',
    "def f(now):\n    return now - 978307200",
])  # fmt: skip
def test_a_second_table_is_found(copy):
    assert second_tables({"codes.py": OWNER}, {"virtual/x.py": copy})
    assert second_tables({"codes.py": OWNER}, {"backends/x.py": copy})


def test_a_table_of_both_ends_is_found_that_nobody_owns():
    ends = {
        "backends/x.py": 'MODES = {"red": 1, "green": 2, "blue": 3}',
        "virtual/x.py": 'NAMES = {1: "red", 2: "green", 3: "blue"}',
    }
    (complaint,) = second_tables({}, ends)
    assert "one table" in complaint
    assert second_tables({}, {"virtual/x.py": ends["virtual/x.py"]}) == []


@pytest.mark.parametrize("fine", [
    "from codes import PLAY, PAUSE, NEXT\nWORDS = {PLAY: 'play', PAUSE: 'pause', NEXT: 'next'}",
    "TRIES, STEPS, HOPS = 1, 2, 3",
    'ERRORS = {7: "busy", 8: "gone", 9: "late"}',
    "A_DAY = 86400",
])  # fmt: skip
def test_what_only_looks_like_one_is_not(fine):
    assert second_tables({"codes.py": OWNER}, {"virtual/x.py": fine}) == []


def test_uses_are_seen_however_they_are_imported():
    source = """
from ..wire import x_codes as codes
from ..wire.x_codes import UP

codes.DOWN
other.LEFT
"""
    assert set(used(ast.parse(source), "x_codes")) == {"UP", "DOWN"}
