"""Importing this module imports all that a run needs, sooner or later: the fork server does it once for many.

Nothing of it runs a TensorFlow operation: a process that has done so cannot be forked.
"""

import matplotlib.backends.backend_agg
import matplotlib.figure
from hydra.core.plugins import Plugins
from PIL import Image

import experiments.cli.hydra_app
import experiments.tracking.models
import experiments.tracking.preload
import experiments.training.snapshot
import gan.averaging
import gan.evaluation.extractors
import gan.models
import gan.trainer
import gan.update
from experiments.training.facts import code_changes

Image.init()  # imports the plugins of file formats
Plugins.instance()  # likewise
code_changes()  # of the code as it was imported
