"""The structure that everything stands on, read from the sources."""

import ast
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from experiments.settings.rules import describe
from experiments.settings.schema import Config
from sweeps.spec.schema import Settings

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ["gan", "experiments", "sweeps"]  # each may import itself and those before it
# The packages of each folder, from the bottom up; those of one line may not import each other.
ORDER = {
    "gan": [["data"], ["evaluation"]],
    "experiments": [
        ["settings", "processes"],
        ["hardware", "records"],
        ["cli"],
        ["tracking"],
        ["training"],
        ["reports"],
        ["housekeeping"],
        ["fid_proxy"],
    ],
    "sweeps": [["spec"], ["study"], ["display"], ["workers"], ["analysis"], ["search"], ["reproduction"]],
}
CHILDREN = {"sweeps.workers.worker", "sweeps.workers.trial", "experiments.processes.fork_server"}  # started by programs
STARTS_ITSELF = {"sweeps.search.throughput"}  # a library whose function runs its own file to measure
# Packages and modules that may import a framework, with all that is in them.
USERS = {
    "mlflow": ["experiments.tracking"],
    "optuna": ["sweeps", "experiments.housekeeping.removing"],
    "hydra": ["experiments.cli", "experiments.run", "experiments.training.preload", "sweeps.spec.read_space"],
    "omegaconf": ["experiments.cli", "experiments.run", "experiments.training"],
    "rich": ["experiments", "sweeps"],
}
Imports = dict[str, set[str]]
READER = runpy.run_path(str(ROOT / "docs" / "make_architecture.py"))
read_imports: Callable[[Path], Imports] = READER["read_imports"]
circles: Callable[[Imports], list[list[str]]] = READER["circles"]
unit: Callable[[str, Imports], str] = READER["unit"]
IMPORTS = read_imports(ROOT)


def names_in(folder: str) -> set[str]:
    return {name for names in ORDER[folder] for name in names}


def layer(module: str, imports: Imports) -> int | None:
    """How high a package stands in its folder; a program stands above all, and gan's own modules anywhere (None)."""
    folder, _, rest = module.partition(".")
    if not rest:
        return -1  # the folder's own __init__
    if unit(module, imports) == module and rest.partition(".")[0] not in names_in(folder):
        return None if folder == "gan" else len(ORDER[folder])
    (index,) = (i for i, names in enumerate(ORDER[folder]) if rest.partition(".")[0] in names)
    return index


def upward(imports: Imports) -> list[str]:
    """Imports that do not run downwards."""
    wrong = []
    for module, targets in imports.items():
        for target in targets & imports.keys():
            folder, other = module.partition(".")[0], target.partition(".")[0]
            if folder != other:
                if LAYERS.index(other) > LAYERS.index(folder):
                    wrong.append(f"{module} -> {target}")
            elif module != folder and unit(module, imports) != unit(target, imports):  # a folder's __init__ exports
                here, target_layer = layer(module, imports), layer(target, imports)
                if here is not None and target_layer is not None and here <= target_layer:
                    wrong.append(f"{module} -> {target}")
    return wrong


def imported_programs(imports: Imports) -> list[str]:
    """Programs that something imports. Those that programs start may be imported by the ones at the top, and preloaded."""
    top = {module for module in imports if module.count(".") == 1 and module.split(".")[0] in ("experiments", "sweeps")}
    top -= {unit(module, imports) for module in imports if module.count(".") > 1}
    return [
        f"{module} -> {target}"
        for module, targets in imports.items()
        for target in targets
        if target in top or (target in CHILDREN and module not in top and not module.endswith(".preload"))
    ]


def strangers(imports: Imports) -> list[str]:
    """Modules that import a framework which is none of theirs."""
    return [
        f"{module} -> {target}"
        for module, targets in imports.items()
        for target in targets
        for framework in {target.partition(".")[0]} & USERS.keys()
        if not any(module == user or module.startswith(f"{user}.") for user in USERS[framework])
    ]


def tree(root: Path, **changes: str) -> Imports:
    """Of a small house, with a line more in some of its files (a__b is a/b.py)."""
    files = {
        "gan__errors": "", "gan__data__folder": "import gan.errors", "gan__evaluation__scorer": "from gan.data import folder",
        "experiments__run": "from experiments.cli import compose", "experiments__cli__compose": "import hydra",
        "experiments__generate": "", "experiments__settings__schema": "from gan import errors",
        "experiments__reports__page": "", "experiments__fid_proxy__measure": "", "experiments__tracking__store": "import mlflow",
        "sweeps__optuna_search": "from sweeps.workers.worker import join", "sweeps__spec__plan": "import optuna",
        "sweeps__workers__worker": "", "sweeps__workers__pool": "from sweeps.spec import plan",
    }  # fmt: skip
    for name in files | changes:
        file = root / (name.replace("__", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(f"{files.get(name, '')}\n{changes.get(name, '')}\n")
    for folder in LAYERS:
        (root / folder / "__init__.py").touch()
    return read_imports(root)


def test_every_package_has_its_place_in_the_order() -> None:
    for folder in ORDER:
        packages = {file.parent.name for file in (ROOT / folder).glob("*/__init__.py")}
        assert packages == names_in(folder), folder


def test_imports_run_downwards_only() -> None:
    assert upward(IMPORTS) == []


def test_no_modules_and_no_packages_import_each_other_in_a_circle() -> None:
    assert circles(IMPORTS) == []
    packages: Imports = {}
    for module, targets in IMPORTS.items():
        here = unit(module, IMPORTS)
        packages.setdefault(here, set()).update({unit(t, IMPORTS) for t in targets & IMPORTS.keys()} - {here})
    assert circles(packages) == []


def test_no_program_is_imported() -> None:
    assert imported_programs(IMPORTS) == []


def test_what_is_run_as_a_program_lies_at_the_top_or_among_the_workers() -> None:
    started = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for folder in LAYERS
        for file in sources(folder)
        if 'if __name__ == "__main__":' in file.read_text()
    }
    assert {module for module in started if module.count(".") > 1} == CHILDREN | STARTS_ITSELF


def test_frameworks_stay_where_they_belong() -> None:
    assert strangers(IMPORTS) == []


def test_the_small_house_is_in_order(tmp_path: Path) -> None:
    imports = tree(tmp_path)
    assert upward(imports) == circles(imports) == imported_programs(imports) == strangers(imports) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("gan__errors", "import experiments.cli.compose"),
        ("gan__data__folder", "def f():\n    from gan.evaluation import scorer"),
        ("experiments__cli__compose", "if TYPE_CHECKING:\n    from experiments.tracking.store import x"),
        ("experiments__reports__page", "from experiments.fid_proxy.measure import x"),
        ("sweeps__spec__plan", "from sweeps.workers.pool import x"),
        ("sweeps__spec__plan", "from ..workers import pool"),
    ],
)
def test_an_import_that_runs_up_is_found(tmp_path: Path, file: str, line: str) -> None:
    assert len(upward(tree(tmp_path, **{file: line}))) == 1


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("gan__data__folder", "from gan.data import folder"),
        ("gan__errors", "def f():\n    from gan.data.folder import x"),
    ],
)
def test_a_circle_is_found(tmp_path: Path, file: str, line: str) -> None:
    assert len(circles(tree(tmp_path, **{file: line}))) == 1


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("experiments__generate", "from experiments.run import x"),
        ("sweeps__optuna_search", "from experiments import generate"),
        ("sweeps__workers__pool", "from sweeps.workers import worker"),
    ],
)
def test_a_program_that_is_imported_is_found(tmp_path: Path, file: str, line: str) -> None:
    assert len(imported_programs(tree(tmp_path, **{file: line}))) == 1


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("gan__errors", "import rich.console"),
        ("experiments__reports__page", "from mlflow import MlflowClient"),
        ("experiments__run", "def f():\n    import optuna"),
        ("sweeps__workers__pool", "from hydra.errors import HydraException"),
        ("experiments__settings__schema", "import omegaconf"),
    ],
)
def test_a_framework_in_a_wrong_place_is_found(tmp_path: Path, file: str, line: str) -> None:
    assert len(strangers(tree(tmp_path, **{file: line}))) == 1


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_conf_holds_values_and_no_import_paths() -> None:
    files = sorted((ROOT / "conf").rglob("*.yaml"))
    assert files
    for file in files:
        assert "_target_" not in file.read_text(), file
        yaml.safe_load(file.read_text())


@pytest.mark.parametrize("settings", [Config, Settings])
def test_no_key_is_dead(settings: type) -> None:
    """Every key is read somewhere outside of its own definition, as in c.train.steps."""
    read = set()
    for package in LAYERS:
        for file in sources(package):
            if file.name not in ("schema.py",):
                tree = ast.parse(file.read_text())
                read |= {"." + ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    keys = describe(settings)
    filled = {spec["same_as"] for spec in keys.values()}  # read through the keys that default to them
    # One at the top has a name that many things have: it is read of the whole.
    places = {key: (f".{key}",) if "." in key else (f"config.{key}", f"c.{key}") for key in keys}
    dead = [key for key in keys if key not in filled and not any(text.endswith(places[key]) for text in read)]
    assert dead == []


def test_no_blanket_exception_handlers_without_a_reason() -> None:
    for package in LAYERS:
        for file in sources(package):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                assert not line.strip().startswith("except:"), (file, number)
                if line.strip().startswith("except Exception"):
                    assert "  # " in line, (file, number)


FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "cloudpickle.load",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "marshal.loads", "shutil.unpack_archive", "tarfile.extractall",
    "subprocess.getoutput", "dill.loads", "joblib.load", "shelve.open",
}  # fmt: skip


@pytest.mark.parametrize("package", [*LAYERS, "benchmarks"])
def test_nothing_that_is_read_is_executed(package: str) -> None:
    """No eval, pickle, unsafe YAML or shell; no archive is unpacked to the disk."""
    for file in sources(package):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in FORBIDDEN, f"{file}:{node.lineno} {name}"
            assert not name.endswith((".extractall", ".extract")), f"{file}:{node.lineno} {name}"
            for keyword in node.keywords:
                value = ast.unparse(keyword)
                assert value not in ("shell=True", "allow_pickle=True", "safe_mode=False"), f"{file}:{node.lineno}"
        if file.name != "cifar10.py":  # CIFAR-10 itself is pickled: read by an unpickler that makes arrays only
            assert "pickle" not in imported(file), file


def test_servers_are_for_this_machine_alone() -> None:
    files = [ROOT / "Makefile", ROOT / "README.md", *(f for p in [*LAYERS, "benchmarks"] for f in sources(p))]
    for file in files:
        text = file.read_text()
        assert "0.0.0.0" not in text, file
    assert 'HOST = "127.0.0.1"' in (ROOT / "experiments" / "tracking" / "ui_address.py").read_text()


STATUS = ROOT / "experiments" / "records" / "status.py"
JOURNAL = ROOT / "experiments" / "records" / "journal.py"


@pytest.mark.parametrize("package", [*LAYERS, "benchmarks"])
def test_a_status_is_a_member_of_its_enum(package: str) -> None:
    for file in sources(package):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and file != STATUS:
                assert node.value not in ("RUNNING", "FINISHED", "FAILED", "KILLED"), f"{file}:{node.lineno}"


@pytest.mark.parametrize("package", [*LAYERS, "benchmarks"])
def test_nothing_depends_on_how_a_message_begins(package: str) -> None:
    """A message is for a person; the journal alone reads those of version 0.1, which has no kinds of failures."""
    messages = re.compile(r"failure|message|words|error|problem|reason")
    for file in sources(package):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "startswith" and file != JOURNAL:
                assert not messages.search(ast.unparse(node.value)), f"{file}:{node.lineno}"


def undocumented(source: str) -> list[str]:
    """Public functions of three parameters or more whose docstring, or whose class's, does not say what these are.

    A method without a docstring implements an interface that is documented elsewhere.
    """
    missing = []

    def look(body: list[ast.stmt], of_class: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                look(node.body, ast.get_docstring(node) or " ")
            elif isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
                text = ast.get_docstring(node) or (of_class if node.name == "__init__" else "")
                documented = "Args:" in text or (node.name == "__init__" and "Args:" in of_class)
                if count >= 3 and not documented and (text or not of_class):
                    missing.append(node.name)

    look(ast.parse(source).body, "")
    return missing


@pytest.mark.parametrize("package", LAYERS)
def test_three_parameters_or_more_are_documented(package: str) -> None:
    assert {str(file): names for file in sources(package) if (names := undocumented(file.read_text()))} == {}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('def f(a, b, c):\n    "Return."', ["f"]),
        ("def f(a, b, c): ...", ["f"]),
        ('def f(a, b, c):\n    """Return.\n\n    Args:\n        a: b.\n    """', []),
        ('class C:\n    """Do.\n\n    Args:\n        a: b.\n    """\n\n    def __init__(self, a, b, c): ...', []),
        ('class C:\n    "Do."\n\n    def __init__(self, a, b, c): ...', ["__init__"]),
        ('class C:\n    "Do."\n\n    def image(self, a, b, c): ...', []),
        ("def _f(a, b, c): ...", []),
    ],
)
def test_what_is_not_documented_is_found(source: str, names: list[str]) -> None:
    assert undocumented(source) == names
