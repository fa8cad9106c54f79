"""Search for settings that beat the tutorial's, and find out whether they do.

    python sweeps/optuna_search.py
    python sweeps/optuna_search.py search=quick
    python sweeps/optuna_search.py 'model.bn_momentum=interval(0.5,0.99)' 'train.batch_size=choice(16,32,64)'
    python sweeps/optuna_search.py search=custom 'optim.learning_rate=tag(log,interval(5e-5,1e-3))' search.trials=30

A setting of run.py with several values is a dimension of the space, beside those of
conf/search/; one with a single value holds for all trials. The same command resumes a
search that was stopped.

With search.storage=postgresql+psycopg://... workers on many hosts share a study; one more joins it by

    python sweeps/optuna_search.py search.role=worker search.study=<name> search.storage=...
"""

from experiments.cli import entry
from experiments.cli.compose import settings_help
from sweeps.search.start import FAILURES, search
from sweeps.spec.read_plan import read_plan
from sweeps.spec.schema import Settings
from sweeps.workers.worker import join


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(f"{__doc__}\n== Settings of a search; all others are run.py's ==\n\n{settings_help(Settings)}")
        return 0
    plan = read_plan(arguments)
    if plan.search.role == "worker":
        return join(arguments)
    return search(plan, arguments)


if __name__ == "__main__":
    entry.run(main, failures=FAILURES)
