"""Importing this module imports all that a worker and its trials need: the fork server does it once for many."""

import experiments.training.preload
import sweeps.workers.trial
import sweeps.workers.worker
from sweeps.study.published import code_version

code_version()  # of the code as it was imported
