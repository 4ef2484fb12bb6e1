"""What holds of the source as a whole: which way imports point, what modules may need, how long they are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "frailt"
MODULES = sorted(SOURCE.rglob("*.py"))

# A package may import from those of a lower number, and from itself.
LAYERS = {
    "intervals": 0,
    "model": 0,
    "data": 1,
    "tasks": 2,
    "training": 2,
    "planning": 3,
    "inference": 3,
    "evaluation": 3,
    "exports": 3,
    "judge": 3,
    "experiments": 4,
    "measures": 4,
    "serving": 4,
    "report": 5,
    "info": 6,
    "cli": 6,
    "__main__": 7,
}
MODELLING_MAY_IMPORT = {"torch", "transformers", "huggingface_hub", "numpy", "frailt"} | sys.stdlib_module_names
HEAVY = {"torch", "transformers", "accelerate", "datasets"}


def name_of(module: Path) -> str:
    return ".".join(module.relative_to(SOURCE.parent).with_suffix("").parts)


def imports_of(module: Path, *, at_module_level: bool = False) -> list[str]:
    """Absolute dotted names that a file imports, wherever it does; those for type checkers only are left out."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and at_module_level
        if for_types or inner:
            skipped |= set(ast.walk(node))
    found = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = name_of(module).split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            found += [f"{base}.{alias.name}" for alias in node.names]
    return found


def part_of(dotted: str) -> str | None:
    """The part of our package that a dotted name is in; None for another package, and for ours itself."""
    first, *rest = dotted.split(".")
    return rest[0] if first == "frailt" and rest and rest[0] in LAYERS else None


def test_every_part_has_a_layer():
    parts = {module.relative_to(SOURCE).parts[0].removesuffix(".py") for module in MODULES} - {"__init__"}
    assert parts <= set(LAYERS)


@pytest.mark.parametrize("module", [m for m in MODULES if m.parent != SOURCE], ids=name_of)
def test_imports_point_one_way(module):
    own = module.relative_to(SOURCE).parts[0]
    for imported in imports_of(module):
        part = part_of(imported)
        assert part is None or part == own or LAYERS[part] < LAYERS[own], f"{name_of(module)} imports {imported}"
        # `frailt.NAME` of the package itself would be a way around; only its version is free for all.
        assert imported in ("frailt", "frailt.__version__") or part or not imported.startswith("frailt")


def test_the_check_of_imports_sees_relative_and_inner_imports():
    train = next(module for module in MODULES if name_of(module) == "frailt.training.train")
    assert "frailt.training.build.build_model" in imports_of(train)
    sources = next(module for module in MODULES if name_of(module) == "frailt.data.sources")
    assert "datasets" in imports_of(sources)
    assert "datasets" not in imports_of(sources, at_module_level=True)


@pytest.mark.parametrize("module", sorted((SOURCE / "model").glob("*.py")), ids=name_of)
def test_modelling_files_can_travel_with_a_checkpoint(module):
    for imported in imports_of(module):
        assert imported.partition(".")[0] in MODELLING_MAY_IMPORT
        assert not imported.startswith("frailt") or imported.startswith("frailt.model"), imported


TABLES = [SOURCE / "experiments" / name for name in ("compare.py", "records.py")]


@pytest.mark.parametrize("module", [*TABLES, *sorted((SOURCE / "report").rglob("*.py"))], ids=name_of)
def test_tables_need_no_torch(module):
    imported = imports_of(module, at_module_level=True)
    assert not {name.partition(".")[0] for name in imported} & HEAVY
    assert not {part_of(name) for name in imported} & {"training", "inference", "evaluation"}


@pytest.mark.parametrize("module", ["frailt.report.report", "frailt.experiments.compare"])
def test_importing_a_report_imports_nothing_heavy(module):
    """Of all that it imports, directly or not."""
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert module in done.stdout.split()
    assert not set(done.stdout.split()) & HEAVY


@pytest.mark.parametrize("module", [SOURCE / "cli.py", *SOURCE.glob("*/config.py")], ids=name_of)
def test_what_help_needs_imports_no_torch(module):
    assert not {name.partition(".")[0] for name in imports_of(module, at_module_level=True)} & HEAVY


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_are_small(module):
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 450


def test_no_file_names_a_path_of_one_machine():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert Path(__file__) in files
    paths = [f"/{folder}/".encode() for folder in ("work", "root")]
    assert not [file for file in files if file.is_file() and any(path in file.read_bytes() for path in paths)]
