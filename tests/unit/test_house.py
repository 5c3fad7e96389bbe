"""What keeps the library readable: limits of files, functions and classes, documented parameters, plain words."""

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "code" / "clamp3").rglob("*.py"))
FOLDERS = (
    "benchmarks",
    "classification",
    "code",
    "docs",
    "examples",
    "inference",
    "preprocessing",
    "retrieval",
    "tests",
)

LONGEST_FILE, LONGEST_FUNCTION, MOST_METHODS = 450, 60, 12
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}

# Private words of the first versions, and what takes their place.
WORDS = {
    r"judg\w*": "tested, evaluated",
    r"told": "labelled, identified, reported",
    r"hears?|heard|ears?|deaf": "encodes, audio tower",
    r"passed over": "skipped",
    r"crew": "work queue",
    r"doors?": "launch, script",
}
WORD = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)
REPORTS = {"code/clamp3/probe/report.py", "code/clamp3/probe/benchmark.py"}  # their "judged" is part of the output
QUOTES = {"tests/unit/test_house.py"}


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def docstrings(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node


def tokens(path):
    return tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)


def code_lines(path):
    """Return the numbers of the lines with code: not blank, not only a comment, not of a docstring."""
    lines = {n for token in tokens(path) if token.type not in LAYOUT for n in range(token.start[0], token.end[0] + 1)}
    return lines - {n for node in docstrings(path) for n in range(node.lineno, node.end_lineno + 1)}


def test_files_functions_and_classes_are_small():
    large = []
    for path in MODULES:
        lines = code_lines(path)
        if path.read_text(encoding="utf-8").count("\n") > LONGEST_FILE:
            large.append(name_of(path))
        for node in ast.walk(tree_of(path)):
            if isinstance(node, FUNCTIONS):
                n = len(lines.intersection(range(node.lineno, node.end_lineno + 1)))
                large += [f"{name_of(path)}: {node.name}"] * (n > LONGEST_FUNCTION)
            elif isinstance(node, ast.ClassDef):
                n = sum(isinstance(child, FUNCTIONS) and not child.name.startswith("_") for child in node.body)
                large += [f"{name_of(path)}: {node.name}"] * (n > MOST_METHODS)
    assert not large


@cache
def classes():
    """Return the methods and the names of the bases of the library's classes, by name."""
    found = {}
    for node in (node for path in MODULES for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)):
        methods = {child.name for child in node.body if isinstance(child, FUNCTIONS)}
        found[node.name] = methods, [ast.unparse(base).partition("[")[0].split(".")[-1] for base in node.bases]
    return found


def inherits(name, method):
    """Return whether a class of the library has a base in the library with this method."""
    bases = classes()[name][1] if name in classes() else []
    return any((base in classes() and method in classes()[base][0]) or inherits(base, method) for base in bases)


def public_functions(node):
    """Yield (class or None, function) of a module or class, those of nested classes included."""
    for child in node.body:
        if not isinstance(child, (*FUNCTIONS, ast.ClassDef)) or child.name.startswith("_"):
            continue
        if isinstance(child, ast.ClassDef):
            yield from public_functions(child)
        else:
            yield (node if isinstance(node, ast.ClassDef) else None), child


def n_arguments(owner, function):
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    static = any(ast.unparse(decorator) == "staticmethod" for decorator in function.decorator_list)
    return len(named) + bool(arguments.vararg) + bool(arguments.kwarg) - (owner is not None and not static)


def test_public_functions_of_two_arguments_document_them():
    """Where the arguments are those of a base class or of another function, the docstring may refer to it."""
    undocumented = []
    for path in MODULES:
        for owner, function in public_functions(tree_of(path)):
            text = ast.get_docstring(function) or ""
            if any(ast.unparse(decorator) == "overload" for decorator in function.decorator_list):
                continue  # its documentation is that of the implementation
            if n_arguments(owner, function) < 2 or "Parameters\n----------\n" in text:
                continue
            inherited = owner is not None and inherits(owner.name, function.name)
            if not inherited and not re.search(r"(?:[Ss]ee|arguments as of) `[\w.]+`", text):
                undocumented.append(f"{name_of(path)}: {function.name}")
    assert not undocumented


def prose_of(path):
    """Return what is read for its words: everything, but of tests, which quote output, docstrings and comments."""
    if path.suffix != ".py" or not path.is_relative_to(ROOT / "tests"):
        return path.read_text(encoding="utf-8")
    comments = [token.string for token in tokens(path) if token.type == tokenize.COMMENT]
    return "\n".join([*(node.value.value for node in docstrings(path)), *comments])


def test_words_are_the_usual_ones():
    texts = [
        ROOT / "README.md",
        *ROOT.glob("*.py"),
        *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))),
    ]
    found = []
    for path in texts:
        if path.suffix in (".md", ".py") and name_of(path) not in QUOTES:
            text = prose_of(path).replace("judged" if name_of(path) in REPORTS else "\0", "")
            found += [f"{name_of(path)}: {match[0]}" for match in WORD.finditer(text)]
    assert not found, f"usual words: {WORDS}"


def test_no_test_imports_a_conftest():
    """There are several: which one a plain import finds depends on what ran before."""
    imports = (node for path in sorted((ROOT / "tests").rglob("*.py")) for node in ast.walk(tree_of(path)))
    names = [node.module for node in imports if isinstance(node, ast.ImportFrom)]
    assert names and "conftest" not in names
