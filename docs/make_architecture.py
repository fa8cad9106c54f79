"""Draw the two diagrams of docs/architecture.md from the imports of the sources.

python docs/make_architecture.py
"""

import ast
from html import escape
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = Path(__file__).with_name("images")
COMMAND = "python docs/make_architecture.py"
FOLDERS = ("sweeps", "experiments", "gan")  # from the top down
COLORS = {"gan": ("#e2f4ee", "#009E73"), "experiments": ("#e6f0f8", "#0072B2"), "sweeps": ("#fbeee3", "#D55E00")}
MEANING = {
    "sweeps": "many runs, compared; Optuna",
    "experiments": "one run and its records; Hydra mainly in cli/, MLflow only in tracking/",
    "gan": "the library: TensorFlow, Keras, NumPy, and none of the frameworks above",
}
WIDTH = 960
CHARACTER = 7.3  # pixels at 14px, a little more than most fonts take
STYLE = """
    text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #1f2328; font-size: 14px; }
    .name { font-size: 20px; font-weight: 700; }
    .kind { font-size: 15px; font-weight: 600; }
    .file { font-size: 13px; }
    .middle { text-anchor: middle; }
    .arrow { stroke: #1f2328; stroke-width: 1.8; fill: none; }
    .later { stroke-dasharray: 6 4; }
"""
MARKER = """
  <defs>
    <marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
      <path d="M0 0 L10 5 L0 10 z" fill="#1f2328"/>
    </marker>
  </defs>"""

# The way of the data: a title, and the modules that do it.
RUN = [
    ("settings", "experiments.cli.compose"),
    ("images", "gan.data.dataset"),
    ("networks", "gan.models"),
    ("update", "gan.update"),
    ("trainer", "gan.trainer"),
]
RECORDS = [
    ("", ""),
    ("MLflow", "experiments.tracking.connection"),
    ("feeder", "experiments.tracking.feeder"),
    ("journal", "experiments.records.journal"),
    ("checkpoints", "gan.checkpoint"),
]
SEARCH = [
    ("plan", "sweeps.spec.plan"),
    ("study", "sweeps.study.identity"),
    ("worker", "sweeps.workers.worker"),
    ("trial process", "sweeps.workers.trial"),
    ("training", "experiments.training.train"),
]
RESULT = [
    ("session", "sweeps.search.session"),
    ("confirmation", "sweeps.analysis.confirm"),
    ("result", "sweeps.analysis.comparison"),
    ("winner", "sweeps.analysis.champion"),
    ("report", "sweeps.analysis.report"),
]


def read_imports(root: Path) -> dict[str, set[str]]:
    """Map each module of the three folders to all that it imports, in functions and for type checking too.

    `from a import b` counts as a.b where that is a module, else as a.
    """
    files = {}
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    imports: dict[str, set[str]] = {}
    for module, file in files.items():
        names = imports[module] = set()
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                origin = resolve_name("." * node.level + (node.module or ""), package)
                for alias in node.names:
                    names.add(f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in files else origin)
    return imports


def unit(module: str, imports: dict[str, set[str]]) -> str:
    """Return the package of a folder that a module is in, or the module itself at the top of the folder."""
    first = ".".join(module.split(".")[:2])
    return first if any(other.startswith(f"{first}.") for other in imports) else module


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other by imports, and each module that imports itself."""
    reached: dict[str, set[str]] = {}
    for start in imports:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            fresh = (imports[ahead.pop()] & imports.keys()) - seen
            seen |= fresh
            ahead += fresh
        reached[start] = seen
    groups = {frozenset(t for t in reached[m] if m in reached[t]) for m in imports if m in reached[m]}
    return sorted(sorted(group) for group in groups)


def layers(folder: str, imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the packages of a folder, top layer first; each lies above all packages that it imports."""
    packages = {unit(m, imports) for m in imports if m.count(".") > 1 and m.startswith(f"{folder}.")}
    below = {
        package: {
            unit(target, imports)
            for module in imports
            if unit(module, imports) == package
            for target in imports[module] & imports.keys()
        }
        & packages - {package}
        for package in packages
    }
    result: list[list[str]] = []
    while packages:
        layer = sorted(package for package in packages if not below[package] & packages)
        if not layer:
            raise SystemExit(f"error: packages of {folder}/ import each other in a circle: {sorted(packages)}")
        result.insert(0, layer)
        packages -= set(layer)
    return result


def house() -> str:
    """Return the diagram of the packages, their modules and the direction of imports."""
    imports = read_imports(ROOT)
    parts, y = [], 16
    for folder in FOLDERS:
        top, begin = y, len(parts)
        fill, stroke = COLORS[folder]
        parts.append(
            f'<text x="40" y="{y + 32}"><tspan class="name">{folder}/</tspan><tspan dx="14">{MEANING[folder]}</tspan></text>'
        )
        y += 46
        modules_at_top = [
            m for m in imports
            if m.count(".") == 1 and m.startswith(f"{folder}.") and not any(other.startswith(f"{m}.") for other in imports)
        ]  # fmt: skip
        title = "modules" if folder == "gan" else "programs"
        rows: list[list[tuple[str, list[str]]]] = [[(title, modules_at_top)]]
        for layer in layers(folder, imports):
            rows.append([(f"{p.split('.')[1]}/", [m for m in imports if m.startswith(f"{p}.")]) for p in layer])
        for number, row in enumerate(rows):
            width = (WIDTH - 80 - 14 * (len(row) - 1)) / len(row)
            texts = [_wrap(sorted({m.split(".")[2 if title.endswith("/") else 1] for m in modules}), width - 160)
                     for title, modules in row]  # fmt: skip
            height = 18 + 20 * max(map(len, texts))
            if number and not (folder == "gan" and number == 1):
                parts.append(f'<path class="arrow" d="M480 {y - 15} V{y - 2}" marker-end="url(#head)"/>')
            for place, ((name, _), lines) in enumerate(zip(row, texts, strict=True)):
                x = 40 + place * (width + 14)
                parts.append(
                    f'<rect x="{x:g}" y="{y}" width="{width:g}" height="{height}" rx="6" fill="#ffffff" stroke="#8c959f"/>'
                )
                parts.append(f'<text class="kind" x="{x + 14:g}" y="{y + 24}">{name}</text>')
                parts += [
                    f'<text class="modules" x="{x + 146:g}" y="{y + 24 + 20 * i}">{line}</text>'
                    for i, line in enumerate(lines)
                ]
            y += height + 16
        frame = (
            f'<rect x="20" y="{top}" width="{WIDTH - 40}" height="{y - top}" rx="10" fill="{fill}" stroke="{stroke}" '
        )
        parts.insert(begin, frame + 'stroke-width="2.5"/>')
        y += 34
        if folder != FOLDERS[-1]:
            parts.append(f'<path class="arrow" d="M480 {y - 34} V{y - 2}" marker-end="url(#head)"/>')
            parts.append(f'<text x="494" y="{y - 12}">imports</text>')
    parts.append(
        f'<text x="40" y="{y - 8}">Arrows are imports. They run downwards only: tests/test_house.py reads every file for it.</text>'
    )
    return _diagram("The house: packages, modules and the direction of imports", parts, y + 14)


def data() -> str:
    """Return the diagram of the data flow in a run and in a search."""
    parts = [_lane("A run", 42)]
    parts += _row(RUN, 60) + _arrows(60) + _row(RECORDS, 176)
    parts += [
        _arrow(f"M{_x(4) + 78} 132 V172"),
        _arrow(f"M{_x(4) + 30} 132 V152 H{_x(3) + 78} V172"),
        f'<text class="middle" x="{_x(4) - 14}" y="147">events</text>',
        _arrow(f"M{_x(3)} 212 H{_x(2) + 160}"),
        _arrow(f"M{_x(2)} 212 H{_x(1) + 160}", later=True),
        '<text x="28" y="276">The feeder reads the journal in a thread of its own, or sync.py does later. The trainer waits for neither.</text>',
        '<line x1="28" y1="300" x2="932" y2="300" stroke="#d0d7de" stroke-width="2"/>',
        _lane("A search", 340),
    ]
    parts += _row(SEARCH, 356) + _arrows(356)
    parts += [
        _arrow(f"M{_x(3) + 78} 428 V452 H{_x(2) + 78} V432"),
        f'<text class="middle" x="{_x(3) - 14}" y="470">scores; the worker writes them to the study, which suggests the next settings</text>',
    ]
    parts += _row(RESULT, 492) + _arrows(492)
    parts.append(
        '<text x="28" y="592">A trial process is a run as above. The session starts workers, follows the study, then trains the best settings on fresh seeds.</text>'
    )
    for number, folder in enumerate(reversed(FOLDERS)):
        fill, stroke = COLORS[folder]
        x = 28 + 180 * number
        parts.append(
            f'<rect x="{x}" y="610" width="28" height="20" rx="4" fill="{fill}" stroke="{stroke}" stroke-width="2"/>'
        )
        parts.append(f'<text x="{x + 38}" y="625">{folder}/</text>')
    return _diagram("The way of the data, in a run and in a search", parts, 648)


def _x(place: int) -> int:
    return 28 + 187 * place


def _lane(name: str, y: int) -> str:
    return f'<text class="name" x="28" y="{y}">{name}</text>'


def _row(boxes: list[tuple[str, str]], y: int) -> list[str]:
    parts = []
    for place, (title, module) in enumerate(boxes):
        if not module:
            continue
        if not (file := ROOT / (module.replace(".", "/") + ".py")).is_file():
            raise SystemExit(f"error: {file.relative_to(ROOT)} is in the diagram of the data flow, and not in the tree")
        folder, *rest = module.split(".")
        fill, stroke = COLORS[folder]
        parts += [
            f'<rect x="{_x(place)}" y="{y}" width="156" height="72" rx="8" fill="{fill}" stroke="{stroke}" stroke-width="2.5"/>',
            f'<text class="kind middle" x="{_x(place) + 78}" y="{y + 30}">{title}</text>',
            f'<text class="file middle" x="{_x(place) + 78}" y="{y + 54}">{"/".join(rest)}.py</text>',
        ]
    return parts


def _arrows(y: int) -> list[str]:
    return [_arrow(f"M{_x(place) + 156} {y + 36} H{_x(place + 1) - 4}") for place in range(4)]


def _arrow(path: str, later: bool = False) -> str:
    return f'<path class="arrow{" later" * later}" d="{path}" marker-end="url(#head)"/>'


def _wrap(names: list[str], width: float) -> list[str]:
    lines = [""]
    for name in names:
        longer = f"{lines[-1]}, {name}" if lines[-1] else name
        if len(longer) * CHARACTER > width and lines[-1]:
            lines.append(name)
        else:
            lines[-1] = longer
    return lines


def _diagram(title: str, parts: list[str], height: int) -> str:
    body = "\n".join(f"  {part}" for part in parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">
  <title id="title">{escape(title)}</title>
  <style>{STYLE}  </style>{MARKER}
  <rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="16" fill="#fcfcfc" stroke="#d0d7de"/>
{body}
</svg>
"""


def render() -> dict[Path, str]:
    """Return what each diagram's file must hold."""
    return {IMAGES / "architecture_house.svg": house(), IMAGES / "architecture_data.svg": data()}


if __name__ == "__main__":
    for file, text in render().items():
        file.write_text(text, encoding="utf-8")
