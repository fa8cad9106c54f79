"""What an update costs by batch size, and what two runs side by side cost each other.

python benchmarks/scaling.py [rounds=9]
"""

from itertools import product
from statistics import median

from arguments import arguments
from rich.console import Console
from rich.table import Table
from step_speed import Contestant, ratio

from experiments.hardware.cores import available_cores

BATCH_SIZES = (16, 32, 64, 128, 256)


def by_batch_size(rounds: int, console: Console) -> None:
    table = Table("update_rule, precision", *(f"batch {size}" for size in BATCH_SIZES), title="microseconds an image")
    for update_rule, precision in product(("tutorial", "batch"), ("float32", "mixed_bfloat16")):
        settings = ["ours", f"update_rule={update_rule}", f"precision={precision}"]
        with console.status(f"{update_rule}, {precision}"):
            started = [Contestant(str(size), [*settings, f"batch_size={size}"]).start() for size in BATCH_SIZES]
            for _ in range(rounds):
                for size, contestant in zip(BATCH_SIZES, started, strict=True):
                    contestant.turn(max(2, 320 // size))
        for contestant in started:
            contestant.stop()
        costs = [median(c.milliseconds) / size * 1e3 for c, size in zip(started, BATCH_SIZES, strict=True)]
        table.add_row(f"{update_rule}, {precision}", *(f"{cost:,.0f}" for cost in costs))
    console.print(table)


def side_by_side(rounds: int, console: Console) -> None:
    """Compare two runs at once, with all cores each or half of them each, to one alone; all take turns."""
    cores = available_cores()
    half = max(1, cores // 2)
    table = Table("two runs side by side", "ms an update of each", "updates a second of both ÷ of one alone")
    with console.status("side by side"):
        alone = Contestant("alone", ["ours"]).start()
        pairs = {
            f"{cores} threads each": [Contestant("", ["ours"]).start() for _ in range(2)],
            f"{half} thread{'s' * (half > 1)} each": [
                Contestant("", ["ours", f"threads={half}"]).start() for _ in "ab"
            ],
        }
        for _ in range(rounds):
            alone.turn(10)
            for pair in pairs.values():
                for contestant in pair:
                    contestant.begin(10)
                for contestant in pair:
                    contestant.end()
    table.add_row(f"one alone, {cores} threads", f"{median(alone.milliseconds):.0f}", "1")
    for name, pair in pairs.items():
        both = [(a + b) / 2 for a, b in zip(*(c.milliseconds for c in pair), strict=True)]
        table.add_row(name, f"{median(both):.0f}", f"{2 * ratio(alone.milliseconds, both):.2f}")
    for contestant in [alone, *(contestant for pair in pairs.values() for contestant in pair)]:
        contestant.stop()
    console.print(table)


def main(rounds: int) -> None:
    console = Console(width=120)
    side_by_side(rounds, console)
    by_batch_size(rounds, console)


if __name__ == "__main__":
    main(**arguments(rounds=9))
