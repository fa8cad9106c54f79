"""Names of all metrics and images, as the loop writes them and trackers show them."""

from collections.abc import Mapping, Sequence

D_LOSS = "train/d_loss"  # mean of the discriminator's losses on real and fake; nats but for hinge
G_LOSS = "train/g_loss"  # the generator's loss, likewise
D_REAL = "train/d_real"  # mean probability that the discriminator gives to real images
D_FAKE = "train/d_fake"  # and to generated ones
STEPS_PER_SECOND = "train/steps_per_second"  # updates alone: images, scores, checkpoints not counted

# Scores of generated images, as gan.evaluation.scorer gives them; `named` says when.
FID = "fid_proxy"  # Fréchet distance to the real images
KID = "kid_proxy"  # kernel distance
DENSITY = "density"  # do images lie where real ones do
COVERAGE = "coverage"  # do all real images have one near
NN_DISTANCE = "nn_distance"  # to the nearest training image, relative to held-out images
FID_PROXY = f"eval/{FID}"  # in-run score, eval.num_images images
FINAL_FID_PROXY = f"final/{FID}"  # score at the end, eval.final_num_images images

LAST_SCORES = 3  # in-run scores whose mean stands for a training: one alone is too noisy

SAMPLES = "samples"  # the grid of fixed latents


def named(when: str, scores: Mapping[str, float]) -> dict[str, float]:
    """Return scores under their full names: `eval/...` during a run, `final/...` at its end."""
    return {f"{when}/{name}": value for name, value in scores.items()}


def in_run_score(scores: Sequence[float]) -> float:
    """Return the mean of the last three in-run scores, or of as many as there are: what a search minimises."""
    last = scores[-LAST_SCORES:]
    return sum(last) / len(last)
