"""A small GAN on 32x32 pictures: data, models, the update, the loop, the score."""

import os
import sys

GIVEN_BACKEND = os.environ.get("KERAS_BACKEND", "")  # the user's own word, which may be about other projects

# A process has one backend of Keras, and this library needs TensorFlow's.
if "keras" not in sys.modules:
    os.environ["KERAS_BACKEND"] = "tensorflow"
elif (_backend := sys.modules["keras"].config.backend()) != "tensorflow":
    raise ImportError(
        f"gan needs Keras on TensorFlow, and this process runs it on {_backend} already: "
        "import gan before keras, or set KERAS_BACKEND=tensorflow"
    )
