import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

from hf_noisy.models import BranchedModel
from hf_noisy.models.heads import HeadInputs, find_heads
from hf_noisy.models.pooling import has_pooled_features, pooled_features
from hf_noisy.models.preact_resnet import (
    PreActResNetBlock,
    PreActResNetConfig,
    PreActResNetForImageClassification,
    PreActResNetModel,
)

SMALL = {"depths": [1, 2], "hidden_sizes": [4, 8], "num_labels": 3}


def model(seed=0, **changes) -> PreActResNetForImageClassification:
    torch.manual_seed(seed)
    return PreActResNetForImageClassification(PreActResNetConfig(**(SMALL | changes))).eval()


def images(count=4, size=16, channels=3) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def parameters(depths, widths, classes, channels=3) -> int:
    """Counted by hand: convolutions without bias, two numbers a normalised channel, shortcuts where shapes change."""
    total, width = channels * widths[0] * 9, widths[0]
    for stage, (depth, out) in enumerate(zip(depths, widths, strict=True)):
        for block in range(depth):
            changed = width != out or (stage > 0 and block == 0)
            total += 2 * width + width * out * 9 + 2 * out + out * out * 9 + (width * out if changed else 0)
            width = out
    return total + 2 * width + width * classes + classes


@pytest.mark.parametrize(("depths", "millions"), [((2, 2, 2, 2), 11.17), ((3, 4, 6, 3), 21.28)], ids=["18", "34"])
def test_parameter_counts_are_those_of_the_published_networks(depths, millions):
    with torch.device("meta"):
        network = PreActResNetForImageClassification(PreActResNetConfig(depths=depths, num_labels=10))
    assert round(network.num_parameters() / 1e6, 2) == millions
    assert network.num_parameters() == parameters(depths, (64, 128, 256, 512), 10)
    assert model().num_parameters() == parameters([1, 2], [4, 8], 3)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    shortcuts = [module for module in convolutions if module.kernel_size == (1, 1)]
    # 18 and 34 count the layers on the longest path.
    assert len(convolutions) - len(shortcuts) + 1 == 2 * sum(depths) + 2
    assert len(shortcuts) == 3


def test_every_stage_but_the_first_halves_the_image():
    network = model(depths=[1, 1, 1], hidden_sizes=[4, 6, 8])
    feature_map = network.preact_resnet(images(size=32)).last_hidden_state
    assert feature_map.shape == (4, 8, 8, 8)
    assert (feature_map >= 0).all()  # the last activation comes after the last addition
    grey = model(num_channels=1)
    assert grey(images(channels=1)).logits.shape == (4, 3)


def test_a_block_without_residual_passes_its_input_unchanged():
    block = PreActResNetBlock(4, 4, 1)
    nn.init.zeros_(block.conv2.weight)
    hidden = images(channels=4)
    assert block.shortcut is None
    torch.testing.assert_close(block(hidden), hidden, rtol=0, atol=0)


def test_a_block_normalises_and_activates_before_it_convolves():
    block = PreActResNetBlock(4, 6, 2).eval()
    hidden = images(channels=4)
    active = torch.relu(nn.functional.batch_norm(hidden, torch.zeros(4), torch.ones(4)))
    residual = block.conv1(active)
    residual = block.conv2(torch.relu(nn.functional.batch_norm(residual, torch.zeros(6), torch.ones(6))))
    torch.testing.assert_close(block(hidden), residual + block.shortcut(active))
    assert block(hidden).shape == (4, 6, 8, 8)


def test_weights_are_initialised_for_relu():
    network = model(hidden_sizes=[64, 64], depths=[1, 1])
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
    (head,) = find_heads(network)
    assert 0.8 / 8 < head.weight.abs().max() <= 1 / 8


def test_loss_is_the_mean_cross_entropy():
    output = model()(pixel_values=images(), labels=torch.tensor([0, 1, 2, 1]))
    expected = nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 2, 1]))
    torch.testing.assert_close(output.loss, expected)
    assert model()(images()).loss is None


def test_save_and_load_round_trip(tmp_path):
    network = model(id2label={0: "ant", 1: "bee", 2: "cat"}, label2id={"ant": 0, "bee": 1, "cat": 2})
    network.train()(images())  # running means that are not those of a new network
    network.eval().save_pretrained(tmp_path)
    loaded, report = AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert isinstance(loaded, PreActResNetForImageClassification)
    torch.testing.assert_close(loaded(images()).logits, network(images()).logits, rtol=0, atol=0)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.depths, config.hidden_sizes, config.id2label[2]) == ([1, 2], [4, 8], "cat")
    body = AutoModel.from_pretrained(tmp_path)
    assert isinstance(body, PreActResNetModel)
    torch.testing.assert_close(
        body(images()).last_hidden_state, network.preact_resnet(images()).last_hidden_state, rtol=0, atol=0
    )


def test_branches_heads_and_features(tmp_path):
    network = model()
    assert has_pooled_features(network)
    with torch.no_grad(), HeadInputs(network) as seen:
        logits = network(images()).logits
        (features,) = seen.pop()
    torch.testing.assert_close(find_heads(network)[0](features), logits, rtol=0, atol=0)
    torch.testing.assert_close(pooled_features(network, {"pixel_values": images()}), features)
    branched = BranchedModel.from_model(network, seed=1).eval()
    assert branched.main_input_name == "pixel_values"
    output = branched(pixel_values=images())
    assert output.branch_logits.shape == (4, 2, 3)
    assert not torch.allclose(output.branch_logits[:, 0], output.branch_logits[:, 1])
    branched.save_pretrained(tmp_path)
    loaded = BranchedModel.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(pixel_values=images()).logits, output.logits, rtol=0, atol=0)
    assert type(branched.unbranch(0)) is PreActResNetForImageClassification


@pytest.mark.slow
def test_compiled_network_computes_the_same():
    network = model().train()
    compiled = torch.compile(model().train(), backend="aot_eager")
    for each in (network, compiled):
        each(images(), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    for plain, other in zip(network.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(other.grad, plain.grad)
    torch.testing.assert_close(compiled.eval()(images()).logits, network.eval()(images()).logits)


def test_half_precision_gives_a_loss_in_float32():
    with torch.autocast("cpu", torch.bfloat16):
        output = model().train()(images(), labels=torch.tensor([0, 1, 2, 0]))
    assert output.logits.dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": [2, 2]}, "depths and hidden_sizes must have one number per stage, got 2 and 4"),
        ({"depths": [2, 0, 2, 2]}, "depths must be numbers of at least 1, one per stage"),
        ({"hidden_sizes": []}, "hidden_sizes must be numbers of at least 1, one per stage"),
    ],
)
def test_shapes_that_fit_no_network_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PreActResNetConfig(**arguments)
