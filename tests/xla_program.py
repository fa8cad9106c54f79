"""A small program that XLA compiles: prints what it computes.

python tests/xla_program.py <folder for compiled programs> <a number>
"""

import os
import sys
from pathlib import Path

from experiments import ROOT

assert ROOT.is_dir()
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from gan import xla  # noqa: E402

xla.keep_programs(Path(sys.argv[1]))

import tensorflow as tf  # noqa: E402

variable = tf.Variable([1.0, 2.0])


def function(step: tf.Tensor) -> tf.Tensor:
    variable.assign(variable * xla.number(float(sys.argv[2])) + tf.cast(step + xla.integer(3), tf.float32))
    return tf.reduce_sum(tf.tanh(variable)) + variable[1]


program = xla.Program(function, arguments=1)
print([float(program(tf.constant(step))) for step in (1, 2)])
