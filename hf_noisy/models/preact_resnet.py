"""Pre-activation ResNets for small images (CIFAR), which neither torchvision nor transformers has."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithNoAttention, ImageClassifierOutputWithNoAttention

from hf_noisy.losses.loss import at_least_float32


class PreActResNetConfig(PreTrainedConfig):
    """Configuration of a [`PreActResNetForImageClassification`]; by default PreActResNet-18.

    Args:
        depths: Blocks in each stage: `[2, 2, 2, 2]` for PreActResNet-18, `[3, 4, 6, 3]` for PreActResNet-34.
        hidden_sizes: Channels of each stage. Every stage but the first halves height and width.
        num_channels: Channels of the images.

    Raises:
        ValueError: If a stage has no block or no channel, or the two lists differ in length.

    Example:
        >>> PreActResNetConfig(depths=[1, 1], hidden_sizes=[8, 16], num_labels=3).num_labels
        3
    """

    model_type = "preact_resnet"

    def __init__(
        self,
        depths: list[int] | tuple[int, ...] = (2, 2, 2, 2),
        hidden_sizes: list[int] | tuple[int, ...] = (64, 128, 256, 512),
        num_channels: int = 3,
        **kwargs: Any,
    ) -> None:
        for name, values in (("depths", depths), ("hidden_sizes", hidden_sizes)):
            if not values or min(values) < 1:
                raise ValueError(f"{name} must be numbers of at least 1, one per stage, got {values}")
        if len(depths) != len(hidden_sizes):
            raise ValueError(
                f"depths and hidden_sizes must have one number per stage, got {len(depths)} and {len(hidden_sizes)}"
            )
        self.depths, self.hidden_sizes, self.num_channels = list(depths), list(hidden_sizes), num_channels
        super().__init__(**kwargs)


class PreActResNetBlock(nn.Module):
    """Two 3 x 3 convolutions, each after batch normalisation and ReLU, added to the input (Figure 4 e)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(
        self, hidden: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels_out height_out width_out"]:
        """The sum of shortcut and residual."""
        active = F.relu(self.norm1(hidden))
        shortcut = hidden if self.shortcut is None else self.shortcut(active)
        residual: Tensor = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return residual + shortcut


class PreActResNetPreTrainedModel(PreTrainedModel):
    """Weight initialisation, saving and loading."""

    config_class = PreActResNetConfig
    base_model_prefix = "preact_resnet"
    main_input_name = "pixel_values"
    input_modalities = "image"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            # torch's default initialisation.
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        else:
            super()._init_weights(module)  # type: ignore[no-untyped-call]


class PreActResNetModel(PreActResNetPreTrainedModel):
    """Everything below the pooling: stem of one 3 x 3 convolution, stages of blocks, batch normalisation, ReLU."""

    def __init__(self, config: PreActResNetConfig) -> None:
        super().__init__(config)
        channels = config.hidden_sizes[0]
        self.stem = nn.Conv2d(config.num_channels, channels, 3, padding=1, bias=False)
        blocks = []
        for stage, (depth, width) in enumerate(zip(config.depths, config.hidden_sizes, strict=True)):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(PreActResNetBlock(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixel_values: Float[Tensor, "batch channel height width"]) -> BaseModelOutputWithNoAttention:
        """The feature map `[batch, channels, height, width]` of normalised images, as `last_hidden_state`."""
        hidden = F.relu(self.norm(self.blocks(self.stem(pixel_values))))
        return BaseModelOutputWithNoAttention(last_hidden_state=hidden)


class PreActResNetForImageClassification(PreActResNetPreTrainedModel):
    r"""Pre-activation ResNet with the mean over positions and a linear head, an ordinary image classifier.

    A block computes $$h + f(h)$$, where $f$ begins with batch normalisation and ReLU, so that $h$ passes unchanged.

    Args:
        config: A [`PreActResNetConfig`].

    Source: He et al. (2016), Identity Mappings in Deep Residual Networks.

    Example:
        >>> model = PreActResNetForImageClassification(PreActResNetConfig(num_labels=10))
        >>> round(model.num_parameters() / 1e6, 2)
        11.17
    """

    def __init__(self, config: PreActResNetConfig) -> None:
        super().__init__(config)
        self.preact_resnet = PreActResNetModel(config)
        self.classifier = nn.Linear(config.hidden_sizes[-1], config.num_labels)  # type: ignore[arg-type]
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self, pixel_values: Float[Tensor, "batch channel height width"], labels: Int[Tensor, " batch"] | None = None
    ) -> ImageClassifierOutputWithNoAttention:
        """Logits `[batch, class]` of normalised images, and the mean cross-entropy if there are labels."""
        hidden = self.preact_resnet(pixel_values).last_hidden_state
        logits = self.classifier(hidden.mean((2, 3)))
        loss = None if labels is None else F.cross_entropy(at_least_float32(logits), labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


AutoConfig.register("preact_resnet", PreActResNetConfig, exist_ok=True)
AutoModel.register(PreActResNetConfig, PreActResNetModel, exist_ok=True)
AutoModelForImageClassification.register(PreActResNetConfig, PreActResNetForImageClassification, exist_ok=True)
