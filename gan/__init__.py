"""A small GAN on 32x32 pictures: data, models, the update, the loop, the score."""
