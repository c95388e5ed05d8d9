"""The networks: their shapes, what they refuse, and that an output depends on its own input alone."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.latent import Standardisation
from explorer.networks import (
    AttentionBlock,
    Autoencoder,
    AutoencoderConfig,
    CascadeConfig,
    CascadeGenerator,
    CodeDiscriminator,
    Discriminator,
    GanConfig,
    Generator,
    PixelDiscriminator,
    PixelGanConfig,
    PixelGenerator,
    parameter_count,
    to_uint8,
    to_unit_range,
)


@st.composite
def configs(draw: st.DrawFn) -> AutoencoderConfig:
    levels, code_size = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    widths, encoder, decoder = (
        tuple(draw(st.lists(numbers, min_size=levels, max_size=levels)))
        for numbers in (st.integers(1, 9), st.integers(0, 2), st.integers(0, 2))
    )
    return AutoencoderConfig(
        code_size * 2**levels, draw(st.integers(1, 5)), code_size, widths, encoder, decoder
    )


@settings(max_examples=25)
@given(configs(), st.integers(1, 3))
def test_codes_and_round_trips_have_the_shapes_that_the_configuration_says(config, n):
    model = Autoencoder(config)
    images = torch.rand(n, 3, config.image_size, config.image_size)
    codes = model.encoder(images)
    assert codes.shape == (n, *config.code_shape)
    assert codes[0].numel() == config.code_dim
    assert model.decoder(codes).shape == images.shape == model(images).shape


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 60},
        {"code_size": 4},
        {"widths": (48, 96)},
        {"encoder_blocks": (1, 1)},
        {"decoder_blocks": (1, 1, 1, 1)},
    ],
)
def test_a_configuration_that_does_not_fit_together_is_refused(change):
    with pytest.raises(ValueError, match=r"widths"):
        AutoencoderConfig(**change)


def test_a_configuration_survives_json_lists():
    assert AutoencoderConfig(widths=[48, 96, 160]) == AutoencoderConfig()  # type: ignore[arg-type]


@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
def test_generator_and_discriminator_have_the_shapes_that_the_configuration_says(z, latent, width, blocks):
    config = GanConfig(z, latent, width, blocks)
    latents = Generator(config)(torch.randn(5, z))
    assert latents.shape == (5, latent)
    assert Discriminator(config)(latents).shape == (5,)


CASCADE = CascadeConfig(GanConfig(3, 4, 8, 1, code_shape=(2, 4, 4)), 2, 8, 1, 8, 1)


ATTENTIVE = replace(CASCADE, attention=2)


def cascade(config: CascadeConfig = CASCADE) -> CascadeGenerator:
    """An untrained one over components of random codes."""
    torch.manual_seed(0)
    model = CascadeGenerator(config)
    codes = 2 + torch.randn(50, 32)
    for name, value in vars(Standardisation.fit(codes, 4)).items():
        getattr(model, name).copy_(value)
    model.deviation.copy_(codes.std())
    return model


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """With every weight random: residual blocks start as the identity and would hide what they do."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.2, generator=generator)
    return model


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Autoencoder(AutoencoderConfig(16, 4, 4, (8, 8), (1, 1), (1, 1))), (3, 16, 16)),
        (Generator(GanConfig(6, 5, 16, 2)), (6,)),
        (Discriminator(GanConfig(6, 5, 16, 2)), (5,)),
        (Generator(GanConfig(6, 5, 4, 1, "conv", (2, 4, 4))), (6,)),
        (Discriminator(GanConfig(6, 5, 4, 1, "conv", (2, 4, 4))), (5,)),
        (cascade(), (3 + 2 * 16,)),
        (cascade(ATTENTIVE), (3 + 2 * 16,)),
        (CodeDiscriminator(ATTENTIVE), (32,)),
        (CodeDiscriminator(CASCADE), (32,)),
        (PixelGenerator(PixelGanConfig(6, 16, (4, 8))), (6,)),
        (PixelDiscriminator(PixelGanConfig(6, 16, (4, 8))), (3, 16, 16)),
    ],
    ids=[
        "autoencoder",
        "generator",
        "discriminator",
        "conv-generator",
        "conv-discriminator",
        "cascade-generator",
        "attentive-generator",
        "attentive-critic",
        "code-discriminator",
        "pixel-generator",
        "pixel-discriminator",
    ],
)
def test_no_batch_statistics_an_output_depends_on_its_own_input_alone(model, shape):
    model = randomised(model).train()  # as in training, where batch statistics would show
    sample = torch.randn(1, *shape)
    one, others = torch.randn(3, *shape), 100 * torch.randn(3, *shape)
    with torch.no_grad():
        first = model(torch.cat([sample, one]))[0]
        second = model(torch.cat([sample, others]))[0]
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    fixed = {"matrix", "mean", "components", "scale", "deviation"}  # bases, no statistics of a batch
    assert {name.split(".")[-1] for name, _ in model.named_buffers()} <= fixed


@settings(max_examples=10)
@given(st.integers(1, 9), st.integers(1, 8), st.integers(1, 3), st.sampled_from([2, 4, 8]))
def test_convolutions_have_the_shapes_that_the_configuration_says(z, latent, channels, side):
    config = GanConfig(z, latent, 4, 1, "conv", (channels, side, side))
    latents = Generator(config)(torch.randn(3, z))
    assert latents.shape == (3, latent)
    assert Discriminator(config)(latents).shape == (3,)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_an_untrained_generator_is_the_identity(network):
    generator = Generator(GanConfig(6, 6, 8, 1, network, (2, 4, 4)))
    for buffer in generator.buffers():
        buffer.normal_()
    z = torch.randn(7, 6)
    torch.testing.assert_close(generator(z), z)


def test_a_convolutional_discriminator_sees_the_code_that_its_basis_makes():
    """Two latents that the basis maps to one code get one score."""
    torch.manual_seed(0)
    discriminator = randomised(Discriminator(GanConfig(2, 2, 4, 1, "conv", (1, 4, 4))))
    (basis,) = discriminator.buffers()
    basis[0], basis[1] = torch.randn(16), 0.0
    latents = torch.tensor([[1.0, 5.0], [1.0, -3.0], [2.0, 5.0]])
    scores = discriminator(latents)
    torch.testing.assert_close(scores[0], scores[1])
    assert abs(scores[0] - scores[2]) > 1e-3


def test_without_its_second_stage_a_cascade_makes_the_codes_of_the_first():
    model = cascade()
    torch.nn.init.zeros_(model.detail[-2].weight)
    torch.nn.init.zeros_(model.detail[-2].bias)
    z = torch.randn(7, CASCADE.z_dim)
    standard = Standardisation(model.mean, model.components, model.scale)
    torch.testing.assert_close(model(z), standard.to_codes(model.coarse(z[:, :3])))


def test_a_cascades_second_stage_draws_from_its_noise_and_from_what_the_first_made():
    model = randomised(cascade())
    z = torch.randn(2, CASCADE.z_dim)
    other_noise, other_coarse = z.clone(), z.clone()
    other_noise[:, 3:] += 1
    other_coarse[:, :3] += 1
    assert (model(z) - model(other_noise)).abs().max() > 1e-3
    first = {
        k: v.clone() for k, v in vars(Standardisation(model.mean, model.components, model.scale)).items()
    }
    coarse = Standardisation(**first).to_codes(model.coarse(z[:, :3]))
    changed = Standardisation(**first).to_codes(model.coarse(other_coarse[:, :3]))
    difference = (model(z) - coarse) - (model(other_coarse) - changed)  # of the detail alone
    assert difference.abs().max() > 1e-3


@pytest.mark.parametrize("config", [CASCADE, ATTENTIVE])
def test_a_cascades_configuration_survives_json(config):
    assert CascadeConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_a_cascade_from_before_attention_has_none():
    saved = asdict(CASCADE)
    del saved["attention"]
    assert CascadeConfig(**saved) == CASCADE


def test_attention_is_that_of_torchs_own_transformer():
    torch.manual_seed(0)
    theirs = torch.nn.TransformerEncoderLayer(
        8, 4, 16, 0.0, torch.nn.functional.silu, batch_first=True, norm_first=True
    )
    randomised(theirs)
    ours = AttentionBlock(8)
    names = {
        "norm1": "norm1", "norm2": "norm2", "to_qkv": "self_attn.in_proj", "from_heads": "self_attn.out_proj",
        "linear1": "linear1", "linear2": "linear2",
    }  # fmt: skip
    saved = theirs.state_dict()
    for name, parameter in ours.named_parameters():
        module, _, kind = name.rpartition(".")
        joint = "_" if module == "to_qkv" else "."
        parameter.data = saved[names[module] + joint + kind]
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(("attention", "heeded"), [(0, False), (2, True)])
def test_attention_lets_far_cells_agree_where_convolutions_do_not_reach(attention, heeded):
    coarse = GanConfig(3, 4, 8, 1, code_shape=(2, 8, 8))
    model = randomised(CascadeGenerator(CascadeConfig(coarse, 1, 8, 1, attention=attention)))
    for module in model.modules():  # layer norms would spread what changes anywhere
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda x: x
    noise = torch.randn(1, 1, 8, 8)
    other = noise.clone()
    other[..., -1, -1] += 3  # the last cell's; the first cell's detail is looked at
    model.deviation.fill_(1)
    made = [model.refine(torch.zeros(1, 4), n.flatten(1)).view(1, 2, 8, 8)[..., 0, 0] for n in (noise, other)]
    assert (not torch.equal(*made)) == heeded


def test_a_penalty_can_be_taken_of_attentions_slope():
    critic = randomised(CodeDiscriminator(ATTENTIVE))
    codes = torch.randn(4, 32, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(codes).sum(), codes, create_graph=True)
    slope.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.parameters() if p.ndim > 1)
    step = 1e-3 * torch.eye(32)[0]
    with torch.no_grad():
        numeric = (critic(codes + step) - critic(codes - step)) / 2e-3
    torch.testing.assert_close(slope[:, 0].detach(), numeric, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_channels": 0},
        {"blocks": 0},
        {"attention": -1},
        {"attention": 1, "width": 9},
        {"coarse": GanConfig(code_shape=(8, 5, 5))},
    ],
)
def test_a_cascade_that_cannot_be_built_is_refused(change):
    with pytest.raises(ValueError, match=r"at least|must be even"):
        CascadeConfig(**{"coarse": GanConfig(), **change})


@pytest.mark.parametrize("change", [{"network": "attention"}, {"network": "conv", "code_shape": (8, 5, 5)}])
def test_a_gan_that_cannot_be_built_is_refused(change):
    with pytest.raises(ValueError, match=r"unknown network|must be even"):
        GanConfig(**change)


@settings(max_examples=15)
@given(st.integers(1, 9), st.lists(st.integers(1, 8), min_size=1, max_size=4), st.data())
def test_pixel_gans_have_the_shapes_that_the_configuration_says(z, widths, data):
    network = data.draw(st.sampled_from(["residual", "dcgan"]))
    side = 4 if network == "dcgan" else data.draw(st.integers(1, 4))
    config = PixelGanConfig(z, side * 2 ** len(widths), tuple(widths), network)
    images = PixelGenerator(config)(torch.randn(3, z))
    assert images.shape == (3, 3, config.image_size, config.image_size)
    assert PixelDiscriminator(config)(images).shape == (3,)


def test_a_dcgan_is_that_of_radford_et_al():
    """Against the parameter counts of the reference implementation in PyTorch's examples (nz=100, 64, 64)."""
    config = PixelGanConfig(100, 64, (64, 128, 256, 512), "dcgan")
    assert parameter_count(PixelGenerator(config)) == 3_576_704
    assert parameter_count(PixelDiscriminator(config)) == 2_765_568


def test_a_trained_dcgan_makes_of_one_z_what_it_makes_of_it_among_others():
    generator = PixelGenerator(PixelGanConfig(5, 16, (4, 8), "dcgan"))
    for _ in range(3):
        generator(torch.randn(16, 5))  # gathers statistics, as training does
    z = torch.randn(9, 5)
    generator.eval()
    torch.testing.assert_close(generator(z)[:1], generator(z[:1]))
    with torch.no_grad():
        assert not torch.allclose(generator.train()(z)[:1], generator.eval()(z[:1]), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"network": "attention"}, "unknown network"),
        ({"image_size": 60}, "halved"),
        ({"widths": ()}, "halved"),
        ({"widths": (64, 128, 192), "network": "dcgan"}, "starts at 4 px"),
    ],
)
def test_a_pixel_gan_that_cannot_be_built_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        PixelGanConfig(**change)


def test_an_autoencoder_learns_to_invert_one_batch_of_digits():
    from sklearn.datasets import load_digits

    pictures = np.round(load_digits().images[:16] * (255 / 16)).astype(np.uint8)
    pictures = torch.from_numpy(pictures[..., None].repeat(3, 3))
    images = to_unit_range(pictures)
    torch.manual_seed(0)
    model = Autoencoder(AutoencoderConfig(8, 8, 4, (24,), (1,), (1,)))
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)

    def psnr() -> float:
        with torch.no_grad():
            error = (to_uint8(model(images)).double() - pictures.double()).square().mean()
        return float(10 * torch.log10(255**2 / error))

    before = psnr()
    for _ in range(400):
        optimiser.zero_grad()
        (model(images) - images).square().mean().backward()
        optimiser.step()
    assert before < 12
    assert psnr() > 28


def test_all_256_grey_levels_survive_the_way_to_floats_and_back():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(1, 1, 1, 3)
    floats = to_unit_range(levels)
    assert floats.shape == (1, 3, 16, 16)
    assert floats.dtype == torch.float32
    assert (floats.min(), floats.max()) == (-1, 1)
    assert torch.equal(to_uint8(floats), levels)


def test_what_lies_beyond_the_range_is_clipped_not_wrapped():
    beyond = torch.tensor([-9.0, -1.01, 1.01, 9.0]).reshape(1, 1, 1, 4).repeat(1, 3, 1, 1)
    assert to_uint8(beyond)[0, 0, :, 0].tolist() == [0, 0, 255, 255]


def test_parameters_are_counted():
    assert parameter_count(Generator(GanConfig(3, 2, 4, 1))) == (3 * 4 + 4) + 2 * (4 * 4 + 4) + (4 * 2 + 2)
