"""Names of all metrics and images, as the loop writes them and trackers show them."""

from collections.abc import Mapping, Sequence

D_LOSS = "train/d_loss"  # mean of the discriminator's losses on real and fake; nats but for hinge
G_LOSS = "train/g_loss"  # the generator's loss, likewise
D_REAL = "train/d_real"  # mean probability that the discriminator gives to real images, [0, 1]
D_FAKE = "train/d_fake"  # mean probability that it gives to generated ones, [0, 1]
AUGMENT_PROBABILITY = "train/augment_probability"  # with an augment_target: of each image, to be augmented, [0, 1]
STEPS_PER_SECOND = (
    "train/steps_per_second"  # updates and, once in a process, their compiling; not images, scores, checkpoints
)

# Scores of generated images, as gan.evaluation.scorer gives them; `with_prefix` says when.
FID = "fid_proxy"  # Fréchet distance to the real images
KID = "kid_proxy"  # kernel distance
DENSITY = "density"  # how densely real images lie around generated ones, from 0; 1 for perfect images
COVERAGE = "coverage"  # fraction of the real images with a generated one among their neighbourhood, [0, 1]
NN_DISTANCE = "nn_distance"  # distance to the nearest training image over that of held-out images, from 0
FID_PROXY = f"eval/{FID}"  # in-run score, eval.num_images images
FINAL_FID_PROXY = f"final/{FID}"  # score at the end, eval.final_num_images images

LAST_SCORES = 3  # in-run scores whose mean stands for a training: one alone is too noisy

SAMPLES = "samples"  # the grid of fixed latents


def with_prefix(when: str, scores: Mapping[str, float]) -> dict[str, float]:
    """Return scores under their full names: `eval/...` during a run, `final/...` at its end."""
    return {f"{when}/{name}": value for name, value in scores.items()}


def in_run_score(scores: Sequence[float]) -> float:
    """Return the mean of the last three in-run scores, or of as many as there are: what a search minimises."""
    last = scores[-LAST_SCORES:]
    return sum(last) / len(last)
