"""InvAD: one model for many products, by feature inversion, in the published sizes and a compact one.

A frozen backbone's features pass a narrow style; a decoder that begins with a constant rebuilds them from it.
Trained on good images alone; where an image has an anomaly, the features are not rebuilt. Source: Zhang et
al., arXiv 2404.10760. Ours are the compact networks, standardised features, and the bank of good features
whose distances count beside the inversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgead.errors import UnknownNameError, UsageError
from edgead.models.backbones import Backbone, feature_info
from edgead.models.compact_inversion import CompactDecoder, CompactFuser
from edgead.models.config import ModelConfig
from edgead.models.feature_selection import FeatureSelection
from edgead.models.good_features import GoodFeatureBank
from edgead.models.network import FeatureBatch, InspectionNetwork, Optimisation, Views
from edgead.models.residual_selection import resize_bilinear
from edgead.models.standardise import SelectedFeatures, folded_selections
from edgead.models.style_modulation import StyleDecoder, StyleFuser

DECODERS = ("compact", "published")
_LEAST_NORM = 1e-6


@dataclass(frozen=True)
class InvADConfig(ModelConfig):
    """Everything that decides the shape of an InvAD. Saved with a run."""

    family = "invad"
    title = "InvAD"

    backbone: str = "efficientnet_lite0"
    stages: tuple[int, ...] = (1, 2, 3, 4)
    budgets: tuple[int, ...] = ()  # channels kept of each stage; empty: all
    inverted_stages: tuple[int, ...] = (1, 2, 3)
    decoder: str = "compact"  # a name of DECODERS
    style_width: int = 64
    widths: tuple[int, ...] = (32, 64, 96)  # of the decoder at each inverted stage; read by "compact" alone
    latent_width: int = 16  # read by "published" alone
    blocks: int = 2  # for each inverted stage
    standardised: bool = True  # every channel to mean 0 and deviation 1 over the good images
    loss_weight: float = 1.0
    bank_stages: tuple[int, ...] = (3, 4)  # none: no bank of good features
    bank_components: int = 64
    bank_size: int = 12288
    input_height: int = 256
    input_width: int = 256

    def __post_init__(self) -> None:
        infos = feature_info(self.backbone, self.stages)
        if self.decoder not in DECODERS:
            raise UnknownNameError("decoder", self.decoder, DECODERS)
        for name in ("inverted_stages", "bank_stages"):
            if not set(getattr(self, name)) <= set(self.stages):
                raise UsageError(f"{name} {getattr(self, name)} must be among the stages {self.stages}.")
        first, count = (*self.inverted_stages, 0)[0], len(self.inverted_stages)
        if self.inverted_stages != tuple(range(first, first + count)) or not count:
            raise UsageError(
                f"inverted_stages must be neighbours in rising order, as in 1, 2, 3, not "
                f"{self.inverted_stages}."
            )
        if self.decoder == "compact" and len(self.widths) != count:
            raise UsageError(f"widths needs one number for each of the stages {self.inverted_stages}.")
        if self.budgets and len(self.budgets) != len(self.stages):
            raise UsageError(f"budgets needs one number for each of the stages {self.stages}, or none.")
        for info, budget in zip(infos, self.budgets, strict=False):
            if not 1 <= budget <= info.channels:
                raise UsageError(
                    f"Stage {info.stage} of {self.backbone} has {info.channels} channels; keep 1 to "
                    f"{info.channels} of them, not {budget}."
                )
        deepest = infos[-1].stride
        if self.input_height % deepest or self.input_width % deepest or min(self.input_size) < 2 * deepest:
            raise UsageError(
                f"The input must be at least {2 * deepest} pixels high and wide, in multiples of {deepest} "
                f"(the deepest stride), not {self.input_height} x {self.input_width}."
            )

    def grid(self, stage: int) -> tuple[int, int]:
        """(height, width) of a stage's feature maps."""
        stride = 2 ** (stage + 1)
        return self.input_height // stride, self.input_width // stride

    @property
    def map_size(self) -> tuple[int, int]:
        return self.grid(self.inverted_stages[0])

    @property
    def facts(self) -> dict[str, str]:
        bank = f"{self.bank_size} of stages {self.bank_stages}" if self.bank_stages else "none"
        kept = f"channels {self.budgets}" if self.budgets else "all channels"
        return {
            "model": f"InvAD on {self.backbone}, stages {self.stages}, {kept}",
            "inversion": f"{self.decoder} decoder of stages {self.inverted_stages}, style of "
            f"{self.style_width} channels at {' x '.join(map(str, self.grid(self.inverted_stages[-1])))}",
            "bank of good features (ours, beside InvAD)": bank,
        }


class InvAD(InspectionNetwork):
    """Feature maps of a frozen backbone -> the same features, rebuilt from a narrow style."""

    config: InvADConfig
    learns_from_anomalies = False
    last_part = "decoder"
    kept_in_float = ("/bank/*",)  # edgead.compile.distances rounds it, its own way

    def __init__(self, config: InvADConfig, backbone: Backbone, selection: FeatureSelection) -> None:
        super().__init__(config, backbone, selection)
        chosen = [s for s in selection.stages if s.stage in config.inverted_stages]
        plain = not config.standardised and not config.budgets
        self.select = nn.ModuleList(nn.Identity() if plain else SelectedFeatures(stage) for stage in chosen)
        channels = [len(stage.indices) for stage in chosen]
        size = config.grid(config.inverted_stages[-1])
        if config.decoder == "published":
            self.fuser: nn.Module = StyleFuser(channels, config.style_width)
            self.decoder: StyleDecoder | CompactDecoder = StyleDecoder(
                channels, config.style_width, latent=config.latent_width, blocks=config.blocks, size=size
            )
        else:
            self.fuser = CompactFuser(channels, config.style_width, config.widths)
            self.decoder = CompactDecoder(channels, config.widths, blocks=config.blocks, size=size)
        self.bank = _build_bank(config)

    @property
    def optimisation(self) -> Optimisation:
        if self.config.decoder == "published":
            weights = {"inversion": self.config.loss_weight}
            return Optimisation(
                (0.0, 0.99), weight_decay=0.0, clip=5.0, schedule="step", loss_weights=weights
            )
        return Optimisation(loss_weights={"inversion": self.config.loss_weight})

    @property
    def parts(self) -> dict[str, str]:
        return {"select": "style", "fuser": "style", "decoder": "decoder", "bank": "bank"}

    def fit_good(self, chunks: Sequence[list[Tensor]], generator: torch.Generator) -> None:
        if self.config.standardised:
            for select, maps in zip(self.select, zip(*map(self._inverted, chunks), strict=True), strict=True):
                select.fit(maps)  # type: ignore[operator]
        if self.bank is not None:
            self.bank.fit([self._bank_maps(maps) for maps in chunks], generator)

    def selected(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The features of the inverted stages: what is rebuilt."""
        return [select(m) for select, m in zip(self.select, self._inverted(maps), strict=True)]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The features of the inverted stages, rebuilt; maps: the backbone's, one for each stage."""
        rebuilt: list[Tensor] = self.decoder(self.fuser(self.selected(maps)))
        return rebuilt

    def losses(self, output: list[Tensor], batch: FeatureBatch) -> dict[str, Tensor]:
        """The mean squared error of each stage, summed."""
        pairs = zip(output, self.selected(batch.targets), strict=True)
        return {"inversion": torch.stack([F.mse_loss(y.float(), x.float()) for y, x in pairs]).sum()}

    def views(self, maps: Sequence[Tensor]) -> Views:
        features = self.selected(maps)
        distance = cosine_distance(features, self.decoder(self.fuser(features)))
        far = None if self.bank is None else self.bank(self._bank_maps(maps))
        return Views(None, [smoothed(distance)], far)

    def fold(self) -> None:
        """Write the selections as 1 x 1 convolutions; drop what is constant and what is repeated."""
        self.select = folded_selections(self.select)
        self.decoder.fold()
        if self.bank is not None:
            self.bank = self.bank.without_repeated()

    def _inverted(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [maps[self._position(stage)] for stage in self.config.inverted_stages]

    def _bank_maps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [maps[self._position(stage)] for stage in self.config.bank_stages]


def cosine_distance(features: Sequence[Tensor], rebuilt: Sequence[Tensor]) -> Tensor:
    """1 - cosine of the angle between features and their reconstruction, B h w at the first stage's size.

    Each stage is brought to length 1 in every cell, then enlarged (corners aligned) and joined with the
    others, so that all stages count alike.
    """
    size = (int(features[0].shape[-2]), int(features[0].shape[-1]))
    sides = [
        torch.cat([resize_bilinear(_unit(x.float()), size) for x in side], dim=1)
        for side in (features, rebuilt)
    ]
    return 1.0 - (_unit(sides[0]) * _unit(sides[1])).sum(dim=1)


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().sum(dim=1, keepdim=True) + _LEAST_NORM).rsqrt()


def smoothed(cells: Tensor) -> Tensor:
    """The mean of 3 x 3 cells, twice: a bell of deviation 1.15 cells.

    The paper's is a Gaussian of 4 pixels on a map of 256, 1 cell. Means stay in float when an engine
    quantizes convolutions.
    """
    once = F.avg_pool2d(cells[:, None], 3, stride=1, padding=1, count_include_pad=False)
    return F.avg_pool2d(once, 3, stride=1, padding=1, count_include_pad=False)[:, 0]


def _build_bank(config: InvADConfig) -> GoodFeatureBank | None:
    if not config.bank_stages:
        return None
    channels = {info.stage: info.channels for info in feature_info(config.backbone, config.stages)}
    wanted = [channels[stage] for stage in config.bank_stages]
    return GoodFeatureBank(wanted, components=config.bank_components, size=config.bank_size)


_PUBLISHED = InvADConfig(
    backbone="wide_resnet50_2",
    stages=(1, 2, 3),
    decoder="published",
    standardised=False,
    bank_stages=(),
)
PRESETS: dict[str, InvADConfig] = {
    "compact": InvADConfig(),
    "lite": replace(_PUBLISHED, backbone="resnet34", blocks=4, loss_weight=5.0),
    "paper": _PUBLISHED,
}


def invad_config(
    preset: str = "compact",
    *,
    backbone: str | None = None,
    stages: Sequence[int] | None = None,
    budgets: Sequence[int] | None = None,
    input_size: tuple[int, int] | None = None,
) -> InvADConfig:
    """A preset with other choices in it; `input_size` is (height, width).

    Fewer stages leave less to invert and less in the bank. Raises UnknownNameError and UsageError.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    config = PRESETS[preset]
    kept = config.stages if stages is None else tuple(stages)
    inverted = tuple(stage for stage in config.inverted_stages if stage in kept)
    widths = dict(zip(config.inverted_stages, config.widths, strict=True))
    height, width = input_size or config.input_size
    return replace(
        config,
        backbone=backbone or config.backbone,
        stages=kept,
        budgets=config.budgets if budgets is None else tuple(budgets),
        inverted_stages=inverted,
        widths=tuple(widths[stage] for stage in inverted),
        bank_stages=tuple(stage for stage in config.bank_stages if stage in kept),
        input_height=height,
        input_width=width,
    )
