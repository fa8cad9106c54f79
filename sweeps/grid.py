"""A map of two settings: every combination is trained, scored and drawn.

    python sweeps/grid.py 'model.bn_momentum=choice(0.5,0.8,0.95)' 'model.leaky_relu_alpha=range(0,0.41,0.1)'
    python sweeps/grid.py model.bn_momentum=0.5,0.8 optim.learning_rate=1e-4,2e-4,4e-4 search.steps=2500

It is a search like any other (sweeps/optuna_search.py, with the settings of
conf/search/grid.yaml): the same workers and records, and the same command resumes where
it was stopped. Its report begins with a heat map of the score and the same latents drawn
by each combination. Its study is named by the two settings, as grid-bn_momentum-leaky_relu_alpha.
"""

from experiments.cli import entry
from experiments.cli.compose import settings_help
from experiments.cli.progress import short_names
from gan.errors import ConfigError
from sweeps.search.start import FAILURES, search
from sweeps.spec.plan import MAP_PRESET
from sweeps.spec.read_plan import read_plan
from sweeps.spec.schema import Settings
from sweeps.spec.space import combinations

MOST = 400  # combinations: a map with more cannot be read
TWO_SETTINGS = "of two settings, each with a choice(...) or range(...)"
EXAMPLE = ["model.dropout=0,0.25", "train.loss=bce,hinge"]
REFUSED = ("search.sampler", "search.pruner", "search.role", "search.trials")  # given by what a map is
MEANINGLESS = ("search.space", "search.min_steps", "search.eta", "search.learn_from")  # in a map


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        values = Settings(read_plan([MAP_PRESET, *EXAMPLE, "search.study=grid-SETTING-SETTING"]).search)
        text = settings_help(Settings, values, without=(*REFUSED, *MEANINGLESS))
        print(f"{__doc__}\n== Settings of a map; all others are run.py's ==\n\n{text}")
        return 0
    for key in ("search", *REFUSED):
        for argument in arguments:
            if argument.startswith(f"{key}="):
                value = argument.removeprefix(f"{key}=")
                raise ConfigError(key, "absent for a map", value, "sweeps/optuna_search.py takes it")
    example = f"for instance {' '.join(EXAMPLE)}"
    try:
        plan = read_plan([MAP_PRESET, *arguments])
    except ConfigError as error:
        if error.key != "search.space":
            raise
        raise ConfigError("a map", TWO_SETTINGS, "none", example) from error
    if len(plan.space) != 2:
        keys = ", ".join(dimension.key for dimension in plan.space)
        raise ConfigError("a map", TWO_SETTINGS, keys, example)
    if (count := combinations(plan.space)) > MOST:
        sizes = " x ".join(f"{dimension.count:,}" for dimension in plan.space)
        raise ConfigError("a map", f"of at most {MOST} combinations", f"{sizes} = {count:,}")
    if not any(argument.startswith("search.study=") for argument in arguments):
        names = short_names([dimension.key for dimension in plan.space]).values()
        arguments = [*arguments, f"search.study={'-'.join(['grid', *names])}"]
        plan = read_plan([MAP_PRESET, *arguments])
    return search(plan, [MAP_PRESET, *arguments])


if __name__ == "__main__":
    entry.run(main, failures=FAILURES)
