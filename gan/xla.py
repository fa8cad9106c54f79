"""A function as one program that XLA compiles, the same for all settings that differ in numbers alone.

XLA compiles for half a minute on a GPU, and keeps what it compiled by the text of the program. A learning rate
in that text would make another program of it, and so would the names that TensorFlow counts up in
a process. So numbers are inputs of the program (`number`, `integer`), and names are made the same.
"""

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path

import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework.function_pb2 import FunctionDef, FunctionDefLibrary
from tensorflow.core.framework.op_def_pb2 import OpDef
from tensorflow.python.eager import context  # the one way to add a function under a name of one's own
from tensorflow.python.framework import config  # and to ask whether results are to repeat

from gan.devices import is_out_of_memory

FLAGS = "TF_XLA_FLAGS"  # the environment variable, read when TensorFlow first computes
DIRECTORY, READ_ONLY = "--tf_xla_persistent_cache_directory", "--tf_xla_persistent_cache_read_only"
ENTRIES = "xla_compile_cache_*"
MOST_KEPT = 20  # programs, 5 to 15 MB each
MUST_COMPILE = "_XlaMustCompile"
FORGOTTEN = "_gradient_op_type"  # a number of this process, for gradients that have been taken by now


_kept_in: set[Path] = set()  # the folder of `keep_programs`


class _Inputs:
    """Numbers that a program takes as inputs, in the order in which it uses them."""

    def __init__(self) -> None:
        self.floats: list[float] = []
        self.integers: list[int] = []

    @contextlib.contextmanager
    def taken_from(self, floats: tf.Tensor, integers: tf.Tensor) -> Iterator[None]:
        """Have `number` and `integer` note values here, and return elements of these vectors."""
        self.floats, self.integers = [], []
        self._tensors = floats, integers
        token = _tracing.set(self)
        try:
            yield
        finally:
            _tracing.reset(token)

    def number(self, value: float) -> tf.Tensor:
        self.floats.append(value)
        return self._tensors[0][len(self.floats) - 1]

    def integer(self, value: int) -> tf.Tensor:
        self.integers.append(value)
        return self._tensors[1][len(self.integers) - 1]


_tracing: ContextVar[_Inputs | None] = ContextVar("inputs of the program that is traced", default=None)


def is_tracing() -> bool:
    """Return whether a program for XLA is being traced."""
    return _tracing.get() is not None


def number(value: float) -> float | tf.Tensor:
    """Return a number as an input, a float32 scalar, of the program that is traced; as it is where none is."""
    inputs = _tracing.get()
    return value if inputs is None else inputs.number(value)


def integer(value: int) -> int | tf.Tensor:
    """Return an integer as an input, an int32 scalar, of the program that is traced; as it is where none is."""
    inputs = _tracing.get()
    return value if inputs is None else inputs.integer(value)


def keep_programs(folder: Path) -> None:
    """Have XLA keep what it compiles in a folder, for other processes too, unless the user has chosen a folder.

    To be called before TensorFlow first computes. Of a folder that cannot be written, programs are only read.

    Args:
        folder: is made where it is not there. The oldest programs beyond `MOST_KEPT` are removed.
    """
    flags = os.environ.get(FLAGS, "")
    ours = f"{DIRECTORY}='{folder}'"  # a process that started this one may have said so already
    if (DIRECTORY in flags and ours not in flags) or "'" in str(folder):  # TensorFlow takes such a path in no way
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        return
    is_writable = os.access(folder, os.W_OK)
    for old in sorted(folder.glob(ENTRIES), key=_age)[MOST_KEPT:] if is_writable else []:
        with contextlib.suppress(OSError):  # of another user, in a shared folder
            old.unlink()
    if ours not in flags:
        os.environ[FLAGS] = f"{flags} {ours}{'' if is_writable else f' {READ_ONLY}'}".strip()
    _kept_in.add(folder)


def _forget_programs() -> bool:
    """Remove all programs that are kept, but none in a folder of the user's choice; return whether there were any."""
    entries = [entry for folder in _kept_in for entry in folder.glob(ENTRIES)]
    for entry in entries:
        with contextlib.suppress(OSError):
            entry.unlink()
    return bool(entries)


def _age(file: Path) -> float:
    try:
        return -file.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0.0


class Program:
    """A function compiled by XLA at its first call.

    Args:
        function: takes int32 scalars, returns one tensor, and calls `number` and `integer` for what may differ from
            one process to the next. It may read and assign variables.
        arguments: how many scalars it takes.
    """

    def __init__(self, function: Callable[..., tf.Tensor], arguments: int) -> None:
        self._function, self._arguments = function, arguments
        self._compiled: Callable[..., tf.Tensor] | None = None

    def __call__(self, *arguments: tf.Tensor) -> tf.Tensor:
        if self._compiled is None:
            self._compiled = self._under(self.name)
            try:
                return self._compiled(*arguments)
            except tf.errors.OpError as error:  # nothing was computed yet
                # A GPU that is full says nothing about what was kept.
                if is_out_of_memory(error) or not _forget_programs():
                    raise
                self._compiled = self._under(f"{self.name}_again")  # what was kept was damaged, and is remembered so
        return self._compiled(*arguments)

    @functools.cached_property
    def name(self) -> str:
        """The same for all programs that differ in their inputs alone.

        XLA takes programs of one name for one. So the name depends on all that it compiles differently by, too.
        """
        gpus = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus[:1]]
        made_for = [tf.__version__, config.is_op_determinism_enabled(), *(d.get("compute_capability") for d in details)]
        return f"program_{hashlib.sha256(f'{made_for} {self._text}'.encode()).hexdigest()[:16]}"

    @functools.cached_property
    def _text(self) -> str:
        """The function and those that it calls, without names that TensorFlow has counted up."""
        functions = FunctionDefLibrary()
        library = {each.signature.name: each for each in self._traced.graph.as_graph_def().library.function}
        functions.function.extend(_in_order(self._traced.function_def, library))
        for function in functions.function:
            for node in function.node_def:
                node.attr.pop(FORGOTTEN, None)
        counted = [function.signature.name for function in functions.function]
        text = text_format.MessageToString(functions)
        return _renamed(text, {name: f"function_{index}" for index, name in enumerate(counted)})

    @functools.cached_property
    def _traced(self) -> tf.types.experimental.ConcreteFunction:
        self._inputs = _Inputs()

        def function(floats: tf.Tensor, integers: tf.Tensor, *arguments: tf.Tensor) -> tf.Tensor:
            with self._inputs.taken_from(floats, integers):
                return self._function(*arguments)

        vectors = [tf.TensorSpec((None,), dtype) for dtype in (tf.float32, tf.int32)]
        signature = [*vectors, *[tf.TensorSpec((), tf.int32)] * self._arguments]
        compiled = tf.function(function, input_signature=signature, autograph=False, jit_compile=True)
        return compiled.get_concrete_function()

    def _under(self, name: str) -> Callable[..., tf.Tensor]:
        """Return the program under a name; XLA compiles what has another one anew."""
        count = self._text.count("\nfunction {") + 1
        text = _renamed(self._text, {f"function_{index}": f"{name}_{index}" for index in range(count)})
        functions = text_format.Parse(text, FunctionDefLibrary()).function
        if not context.context().has_function(functions[0].signature.name):
            for function in functions:
                context.context().add_function_def(function)
        call = _call_of(functions[0].signature)
        call.versions.CopyFrom(self._traced.graph.as_graph_def().versions)
        numbers = tf.constant(self._inputs.floats, tf.float32), tf.constant(self._inputs.integers, tf.int32)

        def run(*arguments: tf.Tensor) -> tf.Tensor:
            everything = [*numbers, *arguments, *self._traced.captured_inputs]
            inputs = {f"input_{index}:0": tf.identity(tensor) for index, tensor in enumerate(everything)}
            return tf.graph_util.import_graph_def(call, inputs, ["call:0"])[0]

        return tf.function(run, autograph=False)


def _in_order(first: FunctionDef, library: Mapping[str, FunctionDef]) -> list[FunctionDef]:
    """Return a function and all that it calls, in the order of the calls; in a library the order is any."""
    functions, names = [first], set()
    for function in functions:
        for node in function.node_def:
            for _, value in sorted(node.attr.items()):
                for called in [value.func, *value.list.func]:
                    if called.name and called.name not in names:
                        names.add(called.name)
                        functions.append(library[called.name])
    return functions


def _renamed(text: str, names: dict[str, str]) -> str:
    """Return the text with other names; they also stand inside names of what belongs to a function."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.sub(rf"(?:{'|'.join(longest_first)})(?!\d)", lambda match: names[match[0]], text)


def _call_of(signature: OpDef) -> tf.compat.v1.GraphDef:
    """Return a graph of one node, `call`, which calls a function with `input_0` and so on."""
    graph = tf.compat.v1.GraphDef()
    for index, argument in enumerate(signature.input_arg):
        graph.node.add(name=f"input_{index}", op="Placeholder").attr["dtype"].type = argument.type
    call = graph.node.add(name="call", op="StatefulPartitionedCall", input=[node.name for node in graph.node])
    call.attr["f"].func.name = signature.name
    call.attr["Tin"].list.type.extend(argument.type for argument in signature.input_arg)
    call.attr["Tout"].list.type.extend(argument.type for argument in signature.output_arg)
    call.attr[MUST_COMPILE].b = True
    return graph
