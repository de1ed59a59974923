# The toolkit's DCGAN at 32 × 32, with an eighth of the channels: what CPU cores can train.
model = dict(
    type="StaticUnconditionalGAN",
    generator=dict(type="DCGANGenerator", output_scale=32, base_channels=128),
    discriminator=dict(type="DCGANDiscriminator", input_scale=32, output_scale=4, out_channels=1, base_channels=16),
    gan_loss=dict(type="GANLoss", gan_type="vanilla"),
)
train_cfg = dict(disc_steps=1)
test_cfg = None
optimizer = dict(
    generator=dict(type="Adam", lr=2e-4, betas=(0.5, 0.999)),
    discriminator=dict(type="Adam", lr=2e-4, betas=(0.5, 0.999)),
)
