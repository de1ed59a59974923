# The paper's networks for CIFAR-10 (arXiv:2006.12376), with a quarter of the channels: what CPU cores can train.
# configs/cifar10_minmax_full.py has all of them.
model = dict(
    type="StaticUnconditionalGAN",
    generator=dict(type="ConvGenerator", noise_size=100, width=32),
    discriminator=dict(type="ConvDiscriminator", width=16, dropout=0.4),
    gan_loss=dict(type="GANLoss", gan_type="vanilla"),
)
train_cfg = dict(disc_steps=1)
test_cfg = None
optimizer = dict(
    generator=dict(type="Adam", lr=2e-4, betas=(0.5, 0.999)),
    discriminator=dict(type="Adam", lr=2e-4, betas=(0.5, 0.999)),
)
