# The paper's networks for MNIST (arXiv:2006.12376, 0-1 MNIST).
model = dict(
    type="StaticUnconditionalGAN",
    generator=dict(
        type="MLPGenerator",
        out_shape=(1, 28, 28),
        noise_size=100,
        hidden=(256, 512, 1024),
        negative_slope=0.2,
        tanh=True,
    ),
    discriminator=dict(
        type="MLPDiscriminator", in_shape=(1, 28, 28), hidden=(1024, 512, 256), negative_slope=0.2, dropout=0.3
    ),
    gan_loss=dict(type="GANLoss", gan_type="vanilla"),
)
train_cfg = dict(disc_steps=1)
test_cfg = None
optimizer = dict(
    generator=dict(type="Adam", lr=2e-4, betas=(0.5, 0.999)),
    discriminator=dict(type="Adam", lr=2e-4, betas=(0.5, 0.999)),
)
