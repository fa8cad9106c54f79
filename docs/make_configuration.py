"""Write docs/configuration.md from the dataclasses of settings.

python docs/make_configuration.py
"""

import textwrap
from pathlib import Path
from typing import Any

from experiments.cli.compose import TYPES
from experiments.settings.rules import describe
from experiments.settings.schema import RESUME_MAY_CHANGE, Config
from sweeps.spec.schema import Settings

PAGE = Path(__file__).with_name("configuration.md")
COMMAND = "python docs/make_configuration.py"
TOP = "top level"

HEAD = f"""# Configuration

Made by `{COMMAND}` from `experiments/settings/schema.py` and `sweeps/spec/schema.py`: change those, not this page.

## How keys are given

    python experiments/run.py model.bn_momentum=0.9 train.steps=3000
    python sweeps/optuna_search.py search.trials=40 'model.dropout=interval(0,0.5)'

A value on the command line overrides a preset's, and a preset's overrides the default below. `null` stands for none. A
mistake ends with exit code 2 and one line that names the key, its rule and the nearest right key, before anything is
written. `--help` prints these keys too; `--cfg job` prints what a run would have.

**One number or one a layer.** `model.bn_momentum=0.9` sets every batch normalisation, even where a preset
sets single layers. In a preset of yours it does the same, whatever the preset builds on. A list sets one network's, from input to output:
`'model.generator.bn_momentum=[0.78,0.78]'`. With both, the list overrides the number.

**Presets.** `experiment=` sets many keys of a run (`tutorial`, `quick`, `tuned_four`, `tuned`), `search=` those of a
search (`default`, `quick`, `levers`, `grid`, `custom`); they are the YAML files of `conf/`. A run has no preset
unless one is named; a search has `default`, which holds its space. `experiment=defaults` is every key at its default.
`data=cifar10` chooses a source with what belongs to it: `data=folder` and `data=npz` also set `data.class_id=all`. Your own are YAML files in `experiment/`, `search/` or `data/` of any folder:
`--config-dir my_conf experiment=mine` reads `my_conf/experiment/mine.yaml`, whose first line must be this one (files in
`search/` and `data/` need none):

    # @package _global_
    train:
      batch_size: 64

**Several values.** `-m seed=0,1,2` makes three runs, each in a process of its own. In a search, a key with several
values is a dimension of the space ([how to write them](search.md)).

**Resuming.** `resume=last train.steps=20000` resumes a run with its own settings. Only these may change:
{textwrap.fill(", ".join(f"`{key}`" for key in RESUME_MAY_CHANGE), 120)}.
A run that ended between two scores was scored at its end as well. That score stays when the run is made longer, and counts
among its last three.
"""


def render() -> str:
    """Return the whole page."""
    sections: dict[str, dict[str, dict[str, Any]]] = {}
    for key, spec in (describe(Config) | describe(Settings)).items():
        sections.setdefault(_section(key), {})[key] = spec
    return "\n".join([HEAD, *(_table(name, keys) for name, keys in sections.items())])


def _section(key: str) -> str:
    """Return the table that a key is in: search.confirm has its own, the two networks share the model's."""
    section = key.rpartition(".")[0]
    return section if section.startswith("search") else section.partition(".")[0] or TOP


def _table(name: str, keys: dict[str, dict[str, Any]]) -> str:
    rows = [("key", "default", "type", "meaning", "rule"), ("---",) * 5]
    for key, spec in keys.items():
        rows.append((f"`{key}`", _default(spec), _kind(spec["type"]), spec["doc"], str(spec["rule"] or "")))
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |\n" for row in rows]
    return f"## {name if name == TOP else f'`{name}`'}\n\n" + "".join(lines)


def _kind(of: Any) -> str:
    return "a number or a list" if of is Any else TYPES[getattr(of, "__name__", str(of))]


def _default(spec: dict[str, Any]) -> str:
    default = spec["default"]
    if spec["same_as"]:
        return f"as `{spec['same_as']}`"
    if default is None:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
