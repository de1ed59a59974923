# The paper's networks for mixtures of Gaussians in the plane (arXiv:2006.12376, four Gaussians).
model = dict(
    type="StaticUnconditionalGAN",
    generator=dict(type="MLPGenerator", out_shape=(2,), noise_size=256, hidden=(128, 128), orthogonal_gain=0.8),
    discriminator=dict(type="MLPDiscriminator", in_shape=(2,), hidden=(128, 128), orthogonal_gain=0.8),
    gan_loss=dict(type="SaturatingGANLoss"),
)
train_cfg = dict(disc_steps=6)
test_cfg = None
optimizer = dict(
    generator=dict(type="Adam", lr=1e-3, betas=(0.5, 0.999)),
    discriminator=dict(type="Adam", lr=1e-4, betas=(0.5, 0.999)),
)
