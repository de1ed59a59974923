"""What makes a GAN train: many small GANs at once, over a map of learning rates and under bad steps."""
