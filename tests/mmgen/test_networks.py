"""The paper's networks and its loss: what each setting does."""

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from minmax_plugin.mmgen.losses import SaturatingGANLoss
from minmax_plugin.mmgen.networks import ConvDiscriminator, ConvGenerator, MLPDiscriminator, MLPGenerator


def layers(network):
    return [type(layer).__name__ for layer in network.layers]


def test_fully_connected_networks_have_the_layers_that_are_asked_for():
    assert layers(MLPGenerator((2,), hidden=(8, 8))) == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert layers(MLPGenerator((2,), hidden=(8,), tanh=True)) == ["Linear", "ReLU", "Linear", "Tanh"]
    discriminator = MLPDiscriminator((1, 4, 4), hidden=(8, 6), negative_slope=0.2, dropout=0.3)
    assert layers(discriminator)[1:] == ["Linear", "LeakyReLU", "Dropout", "Linear", "LeakyReLU", "Dropout", "Linear"]
    assert {layer.negative_slope for layer in discriminator.layers if isinstance(layer, nn.LeakyReLU)} == {0.2}
    assert {layer.p for layer in discriminator.layers if isinstance(layer, nn.Dropout)} == {0.3}
    widths = [(layer.in_features, layer.out_features) for layer in discriminator.layers if isinstance(layer, nn.Linear)]
    assert widths == [(16, 8), (8, 6), (6, 1)]


@pytest.mark.parametrize("network", [MLPGenerator, MLPDiscriminator])
def test_weights_begin_orthogonal_with_zero_biases_where_a_gain_is_given(network):
    made = network((2,), hidden=(16, 16), orthogonal_gain=0.8)
    square = next(layer for layer in made.layers if isinstance(layer, nn.Linear) and layer.in_features == 16)
    torch.testing.assert_close(square.weight @ square.weight.T, 0.64 * torch.eye(16), atol=1e-5, rtol=0)
    assert not any(layer.bias.any() for layer in made.layers if isinstance(layer, nn.Linear))
    assert all(layer.bias.any() for layer in network((2,)).layers if isinstance(layer, nn.Linear))


def test_the_convolutional_networks_are_the_paper_s():
    generator, discriminator = ConvGenerator(width=4), ConvDiscriminator(width=4)
    with torch.no_grad():
        for p in generator.parameters():
            p.mul_(100)
        images = generator(torch.randn(2, 100))
    assert images.abs().max() <= 1
    shapes = [tuple(p.shape) for p in generator.parameters() if p.ndim > 1]
    assert shapes == [(128, 100), (8, 4, 4, 4), (4, 4, 4, 4), (4, 4, 4, 4), (3, 4, 3, 3)]
    shapes = [tuple(p.shape) for p in discriminator.parameters() if p.ndim > 1]
    assert shapes == [(4, 3, 3, 3), (8, 4, 3, 3), (8, 8, 3, 3), (16, 8, 3, 3), (1, 256)]
    assert [layer.p for layer in discriminator.layers if isinstance(layer, nn.Dropout)] == [0.4]
    for network, count in ((generator, 4), (discriminator, 4)):
        slopes = [layer.negative_slope for layer in network.layers if isinstance(layer, nn.LeakyReLU)]
        assert slopes == [0.2] * count


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("real", [True, False])
def test_the_saturating_loss_is_that_of_the_min_max_game(weight, real):
    logits, loss = torch.randn(20, 1), SaturatingGANLoss(loss_weight=weight)
    halves = {True: softplus(-logits).mean(), False: softplus(logits).mean()}
    torch.testing.assert_close(loss(logits, target_is_real=real, is_disc=True), halves[real])
    torch.testing.assert_close(loss(logits, target_is_real=real), -weight * halves[not real])
