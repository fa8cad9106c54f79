"""Names of runs that say what differs."""

import pytest

from experiments.records.differences import LONGEST, differences, run_name
from experiments.settings.rules import FolderName


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["experiment=quick"], "quick"),
        (["experiment=quick", "seed=1", "optim.learning_rate=1e-4"], "quick-lr1e-4-seed1"),
        (["optim.learning_rate=0.0001"], "run-lr1e-4"),
        (["experiment=quick", "optim.learning_rate=2.5e-05", "model.bn_momentum=.9"], "quick-lr2.5e-5-momentum.9"),
        (["experiment=quick", "data=folder", "data.path=/x/y", "data.class_id='horse'"], "quick-folder-horse"),
        (["train.loss=hinge", "train.horizontal_flip=true", "model.discriminator.batch_norm=false"],
         "run-hinge-horizontal_flip-no_batch_norm"),
        (["model.generator.bn_momentum=[0.78,0.8]", "train.augment='color+cutout'"], "run-bn_momentum_0.78_0.8-color_cutout"),
        (["train.label_noise_side=up", "train.threads=2", "eval.num_images=100", "seed=3", "seed=4"],
         "run-label_noise_side_up-seed4"),
        (["experiment=quick", "optim.learning_rate=0.000851025683266108", "model.generator.width=64", "model.discriminator.width=16"],
         "quick-lr8.51e-4-g_width64-d_width16"),
        (["train.init_from=12e45678"], "run-init_from_12e45678"),  # the beginning of an id
        (["model.generator.bn_momentum=null", "hydra.run.dir=x", "records.root=/tmp", "notify=mail"], "run"),
    ],
)  # fmt: skip
def test_a_name_says_what_differs(arguments: list[str], name: str) -> None:
    preset = next((word.partition("=")[2] for word in arguments if word.startswith("experiment=")), None)
    named = run_name(preset, differences(arguments))
    assert named == name
    assert FolderName().admits(named)


def test_a_long_name_keeps_its_seed() -> None:
    changed = differences(
        [f"model.x{number}=0.123456" for number in range(20)] + ["optim.learning_rate=1e-4", "seed=17"]
    )
    name = run_name("quick", changed)
    start, left_out = name.rsplit("-", 1)
    assert len(start) <= LONGEST
    assert start.startswith("quick-x00.123456-") and start.endswith("-lr1e-4-seed17")
    assert left_out == f"{22 - start.count('-') + start.count('-4')}more"  # of 1e-4 the hyphen is no separator
    assert FolderName().admits(name)


def test_a_name_that_means_something_else_is_not_taken() -> None:
    assert run_name("last", {}) == "run-last"
    assert run_name("\u00fcber", {}) == "ber"
