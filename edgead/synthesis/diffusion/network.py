"""The U-Net that predicts noise and variance, in three sizes; the layers are those of diffusers.

The smaller sizes see an image as a grid of patches, each patch a pixel of many channels (arXiv 2207.04316):
the convolutions run on a map 4 or 16 times smaller, and what is drawn still has every pixel of the part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgead.errors import UnknownNameError, UsageError
from edgead.synthesis.diffusion.mixture import MixtureDenoiser

__all__ = ["SIZES", "DenoisingNetwork", "NetworkConfig", "network_config", "parameter_count"]


@dataclass(frozen=True)
class NetworkConfig:
    """What a network is built from."""

    height: int = 256  # of the images, in pixels
    width: int = 256
    channels: int = 3  # 1 where all images are grey
    patch: int = 4  # pixels along a side that become one position of the network
    widths: tuple[int, ...] = (64, 128, 128)  # channels of each level; each level has half the resolution
    layers: int = 1  # residual blocks of each level
    attention: tuple[bool, ...] = (False, False, False)  # of each level; the middle always has it
    head: int = 32  # channels of an attention head
    groups: int = 16  # of the group normalisation
    components: int = 32  # of the mixture of Gaussians, per product, that it starts from; 0: from nothing
    published_blocks: bool = False  # scale-shift norms and residual resampling, as in guided-diffusion
    products: int = 1  # classes to be told apart

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise UsageError(f"Images have 1 or 3 channels, not {self.channels}.")
        if len(self.attention) != len(self.widths) or any(width % self.groups for width in self.widths):
            raise UsageError(
                f"Each level has a width, a multiple of {self.groups}, and says whether it has attention; "
                f"found widths {self.widths} and attention {self.attention}."
            )
        multiple = self.patch * 2 ** (len(self.widths) - 1)
        if min(self.height, self.width) < multiple or self.height % multiple or self.width % multiple:
            raise UsageError(
                f"Images for this network have a height and a width that are multiples of {multiple}, not "
                f"{self.height} x {self.width}. Give another --image-size."
            )

    @property
    def shape_chw(self) -> tuple[int, int, int]:
        """Of one image."""
        return self.channels, self.height, self.width


# published: guided-diffusion's at 256 pixels, 553 M parameters. standard: one data-centre GPU, minutes.
# small: two CPU cores; its levels cost alike, so none is the bottleneck.
SIZES: Mapping[str, NetworkConfig] = {
    "small": NetworkConfig(),
    "standard": NetworkConfig(
        patch=2,
        widths=(128, 128, 256, 256, 512),
        layers=2,
        attention=(False, False, False, True, True),
        head=64,
        groups=32,
        published_blocks=True,
    ),
    "published": NetworkConfig(
        components=0,
        patch=1,
        widths=(256, 256, 512, 512, 1024, 1024),
        layers=2,
        attention=(False, False, False, True, True, True),
        head=64,
        groups=32,
        published_blocks=True,
    ),
}


def network_config(size: str, **changes: Any) -> NetworkConfig:
    """The configuration of a size, with changes (image size, channels, products)."""
    if size not in SIZES:
        raise UnknownNameError("size of diffusion model", size, SIZES)
    config = NetworkConfig(**{**SIZES[size].__dict__, **changes})
    if config.components and config.products > 1 and "components" not in changes:
        # A kind is two images of memory; many products share what one has.
        config = replace(config, components=max(2, config.components // config.products))
    return config


class DenoisingNetwork(nn.Module):
    """x_t float B C H W, timesteps and products int64 B -> noise and v, B 2C H W."""

    def __init__(self, config: NetworkConfig) -> None:
        from diffusers import UNet2DModel  # seconds to import

        super().__init__()
        self.config = config
        inside = config.channels * config.patch**2
        kind = "resnet" if config.published_blocks else "conv"
        self.start = (
            MixtureDenoiser(config.shape_chw, components=config.components, products=config.products)
            if config.components
            else None
        )
        self.unet = UNet2DModel(
            sample_size=(config.height // config.patch, config.width // config.patch),
            in_channels=3 * inside if config.components else inside,
            out_channels=2 * inside,
            block_out_channels=config.widths,
            layers_per_block=config.layers,
            down_block_types=_block_types(config, "Down"),
            up_block_types=_block_types(config, "Up")[::-1],
            attention_head_dim=config.head,
            norm_num_groups=config.groups,
            downsample_type=kind,
            upsample_type=kind,
            resnet_time_scale_shift="scale_shift" if config.published_blocks else "default",
            num_class_embeds=config.products if config.products > 1 else None,
        )
        # An untrained network adds nothing to its start: none, or the mixture's denoiser.
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)

    def forward(self, x_t: Tensor, timesteps: Tensor, products: Tensor) -> Tensor:
        """See the class."""
        if self.start is None:
            return self._unet(x_t, timesteps, products)
        with torch.autocast(x_t.device.type, enabled=False):
            image, deviation, best_v = self.start(x_t, timesteps, products)
        left = self.start.left[timesteps].view(-1, 1, 1, 1)
        mean, variance = self.start.mean, self.start.variance
        seen = torch.cat(
            (
                (x_t - left.sqrt() * mean) / (left * variance + 1 - left).sqrt(),
                (image - mean) / variance.sqrt(),
                mean.expand_as(x_t),
            ),
            dim=1,
        )
        correction, v = self._unet(seen, timesteps, products).float().chunk(2, dim=1)
        noise = (x_t - left.sqrt() * (image + deviation * correction)) / (1 - left).sqrt()
        return torch.cat((noise, best_v + v), dim=1)

    def usual_error(self, timesteps: Tensor) -> Tensor | None:
        """The squared error of the noise before anything is learnt, B; None without a start.

        Divided by it, what is left to learn weighs alike at every step. Plain squared errors of a network
        that starts well are 100 times smaller where the part's structure forms than where its grain does.
        """
        return None if self.start is None else self.start.noise_error(timesteps)

    def _unet(self, maps: Tensor, timesteps: Tensor, products: Tensor) -> Tensor:
        patch = self.config.patch
        positions = F.pixel_unshuffle(maps, patch) if patch > 1 else maps
        labels = products if self.config.products > 1 else None
        output: Tensor = self.unet(positions, timesteps, class_labels=labels, return_dict=False)[0]
        return F.pixel_shuffle(output, patch) if patch > 1 else output


def _block_types(config: NetworkConfig, way: str) -> tuple[str, ...]:
    """diffusers' names of the levels' blocks, from the finest level on."""
    plain = f"Resnet{way}sampleBlock2D" if config.published_blocks else f"{way}Block2D"
    return tuple(f"Attn{way}Block2D" if attends else plain for attends in config.attention)


def parameter_count(config: NetworkConfig) -> int:
    """Parameters of a network, counted without memory for them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in DenoisingNetwork(config).parameters())
