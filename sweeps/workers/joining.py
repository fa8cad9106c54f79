"""What a worker brings to a study that was begun elsewhere, and what must be equal on both hosts."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from experiments.records.folders import write_json
from experiments.tracking.address import TRACKING_URI, fix_tracking_uri
from experiments.training.start import check_same_images, find_extractor, load_data
from gan.errors import ConfigError
from sweeps.spec.plan import Plan
from sweeps.study import published
from sweeps.study.identity import IDENTITY, check_identity, with_present_names

# Settings that may differ between hosts; all others come from the study.
OWN = (
    "search.role", "search.study", "search.storage", "search.grace_seconds", "records.root", "data", "data.source",
    "data.path", "eval.extractor_weights", "train.threads", "--config-dir",
)  # fmt: skip


def check_own_settings(arguments: Sequence[str]) -> None:
    """Raise ConfigError for a setting that is not a worker's to choose."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if "=" in argument and key not in OWN:
            remedy = f"a worker's own: {', '.join(OWN)}"
            raise ConfigError(key, "left to the study, whose value a worker takes", value, remedy)


def compare_with_study(plan: Plan, attributes: Mapping[str, Any], console: Console) -> None:
    """Compare what is here with a study, and put what its trials need into its folder here.

    Args:
        plan: the study's, with the worker's own settings.
        attributes: of the study.
        console: is told of the loading of images.

    Raises:
        ConfigError: if images, extractor or settings differ.
    """
    fix_tracking_uri()
    if (address := attributes.get(published.TRACKING)) and not os.environ.get(TRACKING_URI, "").strip():
        os.environ[TRACKING_URI] = address
    plan.records.check_writable()
    config = plan.config
    dataset = load_data(config, plan.records, console)
    check_same_images(dataset, attributes[published.FACTS], "data")
    weights = find_extractor(config.eval.extractor, config.eval.extractor_weights)
    facts = {**plan.identity(), "dataset_sha256": dataset.sha256, "fid_proxy_id": weights.id}
    check_identity(plan.search.study, with_present_names(attributes[IDENTITY]), facts, plan)
    if (file := plan.ancestor_file) is not None and not file.exists():
        remedy = f"copy {file.name} from the study's folder on the search's host to {file}"
        raise ConfigError(
            "train.init_from", "of a study whose folder this host has", plan.config.train.init_from, remedy
        )
    plan.folder.path.mkdir(parents=True, exist_ok=True)
    if not plan.folder.facts.exists():
        write_json(plan.folder.facts, attributes[published.FACTS])
