"""One update of both networks, compiled once, by one of two update rules.

`tutorial` is what the tutorial's listing does on the Keras it was written for (2.3):
D learns from a real and then from a fake batch in two optimiser steps, and the fakes it
sees are drawn with the generator's moving statistics. `batch` is what most GAN code
does: one pass of G on batch statistics serves both networks, and D takes one step.
In both, D normalises with batch statistics also while G learns, and its moving
statistics are left alone there.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from gan import devices, xla
from gan.augment import AUGMENTATIONS, augment, mirrored
from gan.averaging import MovingAverage
from gan.errors import check_name
from gan.images import check_images, scale
from gan.labels import TUTORIAL, Labels
from gan.layers import power_iteration
from gan.losses import LOSSES, gradient_penalty
from gan.metric_names import D_FAKE, D_LOSS, D_REAL, G_LOSS
from gan.optimizers import Decay
from gan.randomness import derive, normal, stateless_seed
from gan.regularizers import AdaptiveAugmentation, LeCam

ALIVE = "alive"  # fraction of all logits that carry a gradient: 0 when no weight gets one
VALUES = (D_LOSS, G_LOSS, D_REAL, D_FAKE, ALIVE)  # what one update returns, in order
UPDATE_RULES = ("tutorial", "batch")
XLA_ROWS = 64  # updates at most in one call of a program that XLA compiled
CONSISTENT_UNDER = ("translation",)  # and mirroring, as the paper's authors found best
AVERAGE = "ema_generator"  # owner, in a state, of the moving average of the generator


class Update:
    """Draws a batch, updates both networks in place, returns what happened.

    Call it with the number of the update, 1 for the first; it returns the `VALUES` as
    (5,) float32. D's probabilities are those before it learns from the batch. If it is made, like
    its networks and optimisers, in the scope of a strategy (`gan.devices`), it trains on its devices.

    An option that is off adds nothing to the compiled update (docs/levers.md).

    Args:
        generator: latents (B, latent_dim) float32 -> images (B, 32, 32, 3) float32 in [-1, 1].
        discriminator: such images -> logits (B, 1) float32.
        g_optimizer: of the generator; it is built here.
        d_optimizer: of the discriminator; it is built here.
        images: (N, 32, 32, 3) uint8, kept in memory; batches are drawn with replacement.
        update_rule: tutorial or batch; the module says what they are.
        batch_size: real images, and as many generated ones, in an update, over all devices.
        labels: the targets of both losses, and what is done to them.
        loss: a name in `LOSSES`.
        r1_gamma: weight of `losses.gradient_penalty`, added to D's loss on real images in every `r1_every_steps`-th update, times
            that number; `D_LOSS` is without it. 0 for none.
        r2_gamma: the same on fake images.
        r1_every_steps: updates from one such penalty to the next, at least 1.
        d_steps: steps of D, each on batches of its own, to one of the generator.
        lecam: weight of `LeCam`'s penalty, 0 for none.
        consistency: weight of the squared difference of D's logits of images and of the same ones moved and
            mirrored, real and fake: Zhao et al. (2021), Improved Consistency Regularization for GANs. 0 for none.
        augment_target: of `AdaptiveAugmentation`; 0 for augmentations that change every image.
        augmentations: names in `AUGMENTATIONS`, for whatever D sees.
        horizontal_flip: whether about half of the real images are turned left to right.
        ema_decay: of the average of the generator, which `eval_generator` then is, in [0, 1). 0 for none.
        decay: of both learning rates; None for constant ones.
        seed: of all draws, which are a function of it and of the number of the update.
        jit_compile: whether XLA compiles the update (`gan.xla`): on one device, with results equal but for rounding.

    Raises:
        ConfigError: for an update rule, a loss or an augmentation of no such name.
        ValueError: for images of another shape or dtype.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        g_optimizer: keras.optimizers.Optimizer,
        d_optimizer: keras.optimizers.Optimizer,
        images: np.ndarray,
        *,
        update_rule: str = "tutorial",
        batch_size: int = 32,
        labels: Labels = TUTORIAL,
        loss: str = "bce",
        r1_gamma: float = 0.0,
        r2_gamma: float = 0.0,
        r1_every_steps: int = 1,
        d_steps: int = 1,
        lecam: float = 0.0,
        consistency: float = 0.0,
        augment_target: float = 0.0,
        augmentations: Sequence[str] = (),
        horizontal_flip: bool = False,
        ema_decay: float = 0.0,
        decay: Decay | None = None,
        seed: int = 0,
        jit_compile: bool = False,
    ) -> None:
        check_name("update_rule", update_rule, UPDATE_RULES)
        check_name("loss", loss, LOSSES)
        for name in augmentations:
            check_name("augmentations", name, AUGMENTATIONS)
        self.generator, self.discriminator = generator, discriminator
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer
        self.strategy = tf.distribute.get_strategy()
        g_optimizer.build(generator.trainable_variables)
        d_optimizer.build(discriminator.trainable_variables)
        self._holds_rows = not jit_compile and bool(tf.config.list_logical_devices("GPU"))
        self.images = tf.constant(_as_rows(images) if self._holds_rows else check_images(images))
        self.batch_size, self.labels, self.seed = batch_size, labels, seed
        self.loss, self.r1_gamma, self.r1_every_steps = LOSSES[loss], r1_gamma, r1_every_steps
        self.augmentations, self.horizontal_flip = tuple(augmentations), horizontal_flip
        self.r2_gamma, self.consistency = r2_gamma, consistency
        # Those of the first step of D are the run's own, so that what is drawn does not depend on how many there are.
        self._seeds = [seed, *(derive(seed, f"step {number} of D") for number in range(2, d_steps + 1))]
        self.lecam = LeCam(lecam) if lecam else None
        self.adaptive = AdaptiveAugmentation(augment_target, batch_size) if augment_target else None
        self.average = MovingAverage(generator, ema_decay) if ema_decay else None
        for model in (generator, self.eval_generator):
            devices.predict_on_one(model)
        self.decay = decay
        self._rates = [(optimizer, float(optimizer.learning_rate.numpy())) for optimizer in (g_optimizer, d_optimizer)]
        self._update_rule = self._tutorial if update_rule == "tutorial" else self._batch
        scalar = tf.TensorSpec((), tf.int32)
        self._compiled = (
            xla.Program(self._updates_in_xla, arguments=2)
            if jit_compile
            else tf.function(self._updates, input_signature=[scalar, scalar], autograph=False)
        )

    @property
    def eval_generator(self) -> keras.Model:
        """The generator to score, draw and save: its moving average where there is one."""
        return self.generator if self.average is None else self.average.model

    def __call__(self, step: int) -> tf.Tensor:
        return self.run(step, 1)[0]

    def run(self, first: int, count: int) -> tf.Tensor:
        """Run `count` updates from number `first` on, and return their `VALUES`, (count, 5) float32.

        The results are those of single calls, to the bit; only the waiting in between is spared.
        """
        if isinstance(self._compiled, xla.Program):
            parts = [(first + done, min(XLA_ROWS, count - done)) for done in range(0, count, XLA_ROWS)]
            return tf.concat([self._compiled(tf.constant(step), tf.constant(rows))[:rows] for step, rows in parts], 0)
        return self._compiled(tf.constant(first, tf.int32), tf.constant(count, tf.int32))

    def real_images(self, step: int) -> np.ndarray:
        """Return the real images of an update as D sees them, (batch_size, 32, 32, 3) float32 in [-1, 1].

        Augmentation, where there is one, may go beyond.
        """
        number = tf.constant(step, tf.int32)
        real, *_ = self._draw(number, self.seed)
        return np.asarray(self._seen(real, "real", number, self.seed))

    def state(self) -> dict[str, np.ndarray]:
        """Return a copy of everything that updates change, by name.

        There is no random state in it: draws are a function of the seed and the step.
        """
        return {name: variable.numpy() for name, variable in self._variables().items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` returned. Raises ValueError, and changes nothing, if it is of other networks."""
        variables = self._variables()
        if unlike := variables.keys() ^ state.keys():
            raise ValueError(f"the state belongs to other networks: {min(unlike)} is on one side only")
        _take(state, variables.items())

    def start_from(self, state: Mapping[str, np.ndarray]) -> None:
        """Give both networks, and the generator's average, the weights of another training; all else stays as it is.

        Args:
            state: as `state` returned it there. Where there was no average, this one begins as the generator.

        Raises:
            ValueError: if it is of other networks; nothing is changed then.
        """
        sources = []
        for name, variable in self._variables().items():
            owner, _, rest = name.partition("/")
            if owner in ("generator", "discriminator", AVERAGE):
                sources.append((f"generator/{rest}" if owner == AVERAGE and name not in state else name, variable))
        _take(state, sources)

    def _variables(self) -> dict[str, keras.Variable]:
        seeds = {id(v) for _, v in dropout_states(self.discriminator)}
        owners = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "g_optimizer": self.g_optimizer,
            "d_optimizer": self.d_optimizer,
        }
        if self.average is not None:
            owners[AVERAGE] = self.average.model
        regularizers: dict[str, keras.Variable] = {}
        if self.lecam is not None:
            regularizers |= {f"lecam/{name}": average for name, average in self.lecam.averages.items()}
        if self.adaptive is not None:
            regularizers["augment/probability"] = self.adaptive.probability
        return regularizers | {
            name: variable
            for owner, of in owners.items()
            for name, variable in variables_by_name(owner, of).items()
            if id(variable) not in seeds
        }

    def _updates(self, first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        def one_more(done: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            return done + 1, rows.write(done, devices.on_all(self.strategy, self._one, first + done))

        rows = tf.TensorArray(tf.float32, size=count, element_shape=(len(VALUES),))
        _, rows = tf.while_loop(lambda done, _: done < count, one_more, (0, rows), parallel_iterations=1)
        return rows.stack()

    def _updates_in_xla(self, first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Return `XLA_ROWS` rows, as XLA has to know their number; those beyond `count` are 0."""

        def one_more(done: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            is_this = tf.range(XLA_ROWS)[:, None] == done  # a scatter would not be deterministic on a GPU, or slow
            return done + 1, tf.where(is_this, self._one(first + done), rows)

        rows = tf.zeros((XLA_ROWS, len(VALUES)))
        _, rows = tf.while_loop(lambda done, _: done < count, one_more, (0, rows), parallel_iterations=1)
        return rows

    def _one(self, step: tf.Tensor) -> tf.Tensor:
        if self.decay is not None:
            for optimizer, rate in self._rates:
                optimizer.learning_rate.assign(xla.number(rate) * self.decay(step))
        values = self._update_rule(step)
        if self.average is not None:
            self.average.move(step)
        return values

    def _tutorial(self, step: tf.Tensor) -> tf.Tensor:
        d_losses = []
        for seed in self._seeds:
            real, z, *labels = self._draw(step, seed)
            targets = self.labels.flipped(labels, seed, step)
            fake = self.generator(z, training=False)
            batches = {"real": (real, targets[0]), "fake": (fake, targets[1])}
            if self.loss.is_relativistic:  # which are not to be had of a batch alone
                d_loss, logits = self._learn_d(batches, step, seed)
            else:
                losses, logits = [], {}
                for name, batch in batches.items():
                    loss, logits_of_batch = self._learn_d({name: batch}, step, seed)
                    losses.append(loss)
                    logits |= logits_of_batch
                d_loss = (losses[0] + losses[1]) / 2
            d_losses.append(d_loss)

        with tf.GradientTape() as tape:
            fake = self._generate(z)
            logits["generator"] = self._discriminate(fake, "generator", step, seed, update_statistics=False)
            g_loss = self._g_loss(logits["generator"], labels[0], real, step, seed)
        self._apply(self.g_optimizer, tape, g_loss, self.generator)
        return self._values(d_losses, g_loss, targets, logits)

    def _batch(self, step: tf.Tensor) -> tf.Tensor:
        d_losses = []
        for seed in self._seeds:
            real, z, *labels = self._draw(step, seed)
            targets = self.labels.flipped(labels, seed, step)
            with tf.GradientTape() as g_tape:
                fake = self._generate(z, update_statistics=seed == self._seeds[-1])
            batches = {"real": (real, targets[0]), "fake": (tf.stop_gradient(fake), targets[1])}
            d_loss, logits = self._learn_d(batches, step, seed)
            d_losses.append(d_loss)

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(fake)
            logits["generator"] = self._discriminate(fake, "generator", step, seed, update_statistics=False)
            g_loss = self._g_loss(logits["generator"], labels[0], real, step, seed)
        self._apply(self.g_optimizer, g_tape, fake, self.generator, tape.gradient(g_loss, fake))
        return self._values(d_losses, g_loss, targets, logits)

    def _learn_d(
        self, batches: Mapping[str, tuple[tf.Tensor, tf.Tensor]], step: tf.Tensor, seed: int
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Take one step of D, on a batch or on a real and a fake one.

        Args:
            batches: images and their targets, by real and fake.
            step: the number of the update.
            seed: of the draws.

        Returns:
            The loss without penalties, and the logits by real and fake.
        """
        power_iteration(self.discriminator)
        seen, logits, slopes = {}, {}, {}
        with tf.GradientTape() as tape:
            for name, (images, _) in batches.items():
                with tf.GradientTape(watch_accessed_variables=False) as slopes[name]:
                    if self._gamma(name):
                        slopes[name].watch(images)
                    seen[name] = self._seen(images, name, step, seed)
                    logits[name] = self._logits(seen[name], name, step, seed)
            if self.loss.is_relativistic:
                loss = self.loss.d(logits["real"], logits["fake"])
            else:
                losses = [self.loss.d(target, logits[name]) for name, (_, target) in batches.items()]
                loss = losses[0] if len(losses) == 1 else (losses[0] + losses[1]) / 2
            # Penalties count as much as the loss of their batch: half where D's loss is the mean of two.
            weight = 1.0 if self.loss.is_relativistic else 1 / len(batches)
            objective = loss
            for name, (images, _) in batches.items():
                if gamma := self._gamma(name):
                    slope = functools.partial(slopes[name].gradient, logits[name], images)
                    objective += self._gradient_penalty(weight * gamma, slope, step)
                for penalty in self._penalties(name, seen[name], logits[name], step, seed):
                    objective += weight * penalty
        self._apply(self.d_optimizer, tape, objective, self.discriminator)
        for name, logits_of_batch in logits.items():
            if self.lecam is not None:
                self.lecam.move(name, logits_of_batch, step)
            if self.adaptive is not None and name == "real":
                self.adaptive.move(logits_of_batch - logits["fake"] if self.loss.is_relativistic else logits_of_batch)
        return loss, logits

    def _g_loss(self, logits: tf.Tensor, target: tf.Tensor, real: tf.Tensor, step: tf.Tensor, seed: int) -> tf.Tensor:
        if not self.loss.is_relativistic:
            return self.loss.g(target, logits)
        return self.loss.g(logits, self._discriminate(real, "rival", step, seed, update_statistics=False))

    def _draw(self, step: tf.Tensor, seed: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Draw real images in [-1, 1], latents, and the targets for real and fake; of each, this device's rows."""
        index = tf.random.stateless_uniform(
            (self.batch_size,),
            stateless_seed(seed, "batch", step),
            maxval=self.images.shape[0],
            dtype=tf.int32,
        )
        with tf.device(self.images.device):  # or every device would copy all images
            images = tf.gather(self.images, devices.share(index))
        real = scale(_of_rows(images) if self._holds_rows else images)
        if self.horizontal_flip:
            real = mirrored(real, seed, step)
        z = normal((self.batch_size, self.generator.input_shape[-1]), stateless_seed(seed, "latents", step))
        return real, devices.share(z), *map(devices.share, self.labels.draw(seed, step, self.batch_size))

    def _generate(self, z: tf.Tensor, update_statistics: bool = True) -> tf.Tensor:
        """Generate images on batch statistics."""
        images, state = self.generator.stateless_call(
            self.generator.trainable_variables, self.generator.non_trainable_variables, z, training=True
        )
        if update_statistics:
            for variable, new in zip(self.generator.non_trainable_variables, state, strict=True):
                variable.assign(new)
        return images

    def _discriminate(
        self, images: tf.Tensor, batch: str, step: tf.Tensor, seed: int, update_statistics: bool = True
    ) -> tf.Tensor:
        """Return logits on batch statistics; augmentation and dropout are drawn for this batch of this step."""
        return self._logits(self._seen(images, batch, step, seed), batch, step, seed, update_statistics)

    def _seen(self, images: tf.Tensor, batch: str, step: tf.Tensor, seed: int) -> tf.Tensor:
        """Return images as D sees them."""
        probability = None if self.adaptive is None else self.adaptive.probability.value
        return augment(images, self.augmentations, seed, batch, step, probability)

    def _logits(
        self, images: tf.Tensor, batch: str, step: tf.Tensor, seed: int, update_statistics: bool = True
    ) -> tf.Tensor:
        variables = self.discriminator.non_trainable_variables
        seeds = {id(v): name for name, v in dropout_states(self.discriminator)}
        state = [
            tf.cast(stateless_seed(seed, f"dropout/{batch}/{seeds[id(v)]}", step), v.dtype)
            if id(v) in seeds
            else v.value
            for v in variables
        ]
        logits, state = self.discriminator.stateless_call(
            self.discriminator.trainable_variables, state, images, training=True
        )
        if update_statistics:
            for variable, new in zip(variables, state, strict=True):
                if id(variable) not in seeds:
                    variable.assign(new)
        return logits

    def _gamma(self, name: str) -> float:
        return self.r1_gamma if name == "real" else self.r2_gamma

    def _gradient_penalty(self, weight: float, gradient: Callable[[], tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        """Return R1 on real images, or R2 on fake ones, where it is due; a float32 scalar, 0 elsewhere.

        Args:
            weight: gamma, and how much the batch counts.
            gradient: takes the gradient of D's logits to the images, (B, 32, 32, 3).
            step: the number of the update.
        """

        def penalty() -> tf.Tensor:
            return xla.number(weight * self.r1_every_steps) * gradient_penalty(gradient())

        if self.r1_every_steps == 1:
            return penalty()
        return tf.cond(step % xla.integer(self.r1_every_steps) == 0, penalty, lambda: tf.constant(0.0))

    def _penalties(
        self, name: str, seen: tf.Tensor, logits: tf.Tensor, step: tf.Tensor, seed: int
    ) -> Iterator[tf.Tensor]:
        """Yield what else is added to D's loss on images that it has seen."""
        if self.lecam is not None:
            yield self.lecam.penalty(name, logits)
        if self.consistency:
            moved = augment(seen, CONSISTENT_UNDER, seed, f"{name} again", step)
            moved = mirrored(moved, seed, step, f"mirror/{name} again")
            again = self._logits(moved, name, step, seed, update_statistics=False)  # with the same dropout
            yield xla.number(self.consistency) * tf.reduce_mean(tf.square(logits - again))

    def _values(
        self,
        d_losses: Sequence[tf.Tensor],
        g_loss: tf.Tensor,
        targets: Sequence[tf.Tensor],
        logits: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        """Return `VALUES`: the mean of D's losses, and of its last step the probabilities.

        With the relativistic loss they are the probability that D takes the real image of a pair for the real one, and its
        complement.
        """
        d_loss = d_losses[0] if len(d_losses) == 1 else tf.add_n(d_losses) / len(d_losses)
        if self.loss.is_relativistic:  # such logits mean something beside each other alone
            real = tf.reduce_mean(tf.sigmoid(logits["real"] - logits["fake"]))
            fake = 1.0 - real
        else:
            real, fake = (tf.reduce_mean(tf.sigmoid(logits[name])) for name in ("real", "fake"))
        has_penalty = self.r1_gamma or self.r2_gamma or self.lecam is not None or self.consistency
        # A penalty carries a gradient where the loss has none.
        alive = (
            tf.constant(1.0)
            if has_penalty
            else self.loss.alive(targets, [logits[name] for name in ("real", "fake", "generator")])
        )
        return tf.stack([d_loss, g_loss, real, fake, alive])

    @staticmethod
    def _apply(
        optimizer: keras.optimizers.Optimizer,
        tape: tf.GradientTape,
        target: tf.Tensor,
        model: keras.Model,
        output_gradients: tf.Tensor | None = None,
    ) -> None:
        variables = model.trainable_variables
        gradients = tape.gradient(target, [v.value for v in variables], output_gradients)
        optimizer.apply(devices.summands(gradients), variables)


def variables_by_name(owner: str, of: keras.Model | keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """Return the variables of a model or an optimiser by the names that `Update.state` has them under."""
    # Keras puts the name of a sequential model before those of its variables, and of others not.
    names = {f"{owner}/{v.path.removeprefix(f'{of.name}/')}": v for v in of.variables}
    if len(names) < len(of.variables):
        raise ValueError(f"two variables of {owner} share a name: layers need names of their own")
    return names


def restore_generator(generator: keras.Model, state: Mapping[str, np.ndarray]) -> None:
    """Give a generator the weights that `Update.eval_generator` had in a state.

    Raises ValueError, and changes nothing, if they are of another generator.
    """
    owner = AVERAGE if any(name.startswith(f"{AVERAGE}/") for name in state) else "generator"
    _take(state, variables_by_name(owner, generator).items())


def _take(state: Mapping[str, np.ndarray], variables: Iterable[tuple[str, keras.Variable]]) -> None:
    """Give variables their values by name; ValueError, before any has changed, where one has no value of its shape."""
    pairs = list(variables)
    for name, variable in pairs:
        if name not in state or state[name].shape != variable.shape:
            raise ValueError(f"the state belongs to other networks: it has no {name} of shape {variable.shape}")
    for name, variable in pairs:
        variable.assign(state[name])


def dropout_states(model: keras.Model) -> list[tuple[str, keras.Variable]]:
    """Return the seed variables of a model's dropout layers, by layer name.

    Updates pass their own in; the variables themselves are never read or changed.
    """
    return [
        (layer.name, layer.seed_generator.state)
        for layer in model.layers
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0  # without a rate Keras gives it no seed
    ]


def _as_rows(images: np.ndarray) -> np.ndarray:
    """Return images (N, 32, 32, 3) uint8 as rows of int64, which TensorFlow can gather on a GPU; uint8 it cannot.

    They would be copied to the CPU in every update.
    """
    return check_images(images).reshape(len(images), -1).view(np.int64)


def _of_rows(rows: tf.Tensor) -> tf.Tensor:
    """Return rows of int64 as images (B, 32, 32, 3) uint8 again."""
    return tf.reshape(tf.bitcast(rows, tf.uint8), (-1, 32, 32, 3))
