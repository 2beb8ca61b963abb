"""Networks of timm (`pip install timm`) as staged models.

timm gives the outputs of its stages itself, as maps without prefix tokens, so no hooks are needed:

    final, stages = forward_intermediates(x)    final equals forward_features(x)
    embedding = forward_head(final, pre_logits=True)
    logits = get_classifier()(embedding)        where that is forward_head(final), bit for bit

The last line does not hold for a network with two heads (volo, levit), with a convolution as
classifier (resnetv2), or with BatchNorm between embedding and classifier (efficientvit_m0).
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shared.commandline import did_you_mean
from shared.errors import InputError
from shared.files.retry import one_line
from shared.models.found_stages import STAGES, evenly, probe_images
from shared.models.staged import AtStage, Run, StagedModel, keep


class TimmModel(StagedModel):
    def __init__(self, network: nn.Module, stage_modules: Sequence[str]) -> None:
        """`stage_modules`: numbers of timm's intermediate outputs, from 0."""
        super().__init__()
        self._network: Any = network
        self._reads = False  # whether the logits are get_classifier()(embedding), see `settle`
        self.stage_modules = tuple(stage_modules)
        self._indices = [int(number) for number in self.stage_modules]

    @property
    def network(self) -> nn.Module:
        found: nn.Module = self._network
        return found

    @property
    def last_layer(self) -> nn.Linear | None:
        layer = self._network.get_classifier()
        return layer if isinstance(layer, nn.Linear) else None

    def settle(self, x: Tensor) -> None:
        layer = self._network.get_classifier()
        if isinstance(layer, nn.Linear | nn.Identity):
            final = self._network.forward_features(x)
            embedding = self._network.forward_head(final, pre_logits=True)
            self._reads = torch.equal(layer(embedding), self._network.forward_head(final))

    def run(self, x: Tensor, at_stage: AtStage = keep) -> Run:
        final, maps = self._network.forward_intermediates(
            x, indices=self._indices, output_fmt="NCHW"
        )
        stages = tuple(at_stage(stage, each) for stage, each in enumerate(maps))
        embedding = self._network.forward_head(final, pre_logits=True)
        if self._reads:
            logits = self._network.get_classifier()(embedding)
        else:
            logits = self._network.forward_head(final)
        if isinstance(logits, tuple):  # in train mode a distilled network returns both heads'
            logits = sum(logits) / len(logits)
        return Run(stages, embedding, logits)


def staged_timm(network: Any, size: int, asked: Sequence[str] | None) -> TimmModel:
    """`asked`: which of timm's intermediate outputs are the stages, as numbers. None: the last one
    at each map size, four at most; four at equal distances if all maps have one size, as in ViT.

    Raises InputError unless those asked for are rising numbers of such outputs.
    """
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            maps = network.forward_intermediates(
                probe_images(network, size), output_fmt="NCHW", intermediates_only=True
            )
    finally:
        network.train(was_training)
    return TimmModel(network, _stages(maps, asked))


def _stages(maps: Sequence[Tensor], asked: Sequence[str] | None) -> tuple[str, ...]:
    numbers = [str(number) for number in range(len(maps))]
    if asked is not None:
        if not asked or list(asked) != [number for number in numbers if number in asked]:
            raise InputError(
                f"--stage-modules of a timm network must be rising numbers of its intermediate "
                f"outputs, 0 to {len(maps) - 1}: got {','.join(asked)}"
            )
        return tuple(asked)
    last = {each.shape[2]: number for number, each in zip(numbers, maps, strict=True)}
    if len(last) == 1:
        return evenly(numbers)
    return tuple(sorted(last.values(), key=int))[-STAGES:]


def timm_config(name: str) -> dict[str, Any]:
    """timm's configuration of a network's weights. Raises InputError as `timm_network` does."""
    if ":" not in name:
        try:
            from timm.models import get_pretrained_cfg

            found: Any = get_pretrained_cfg(name)
            if found is not None:
                return dict(found.to_dict())
        except (ImportError, RuntimeError):
            pass  # timm is missing or has no such name: timm_network says which
    made: Any = timm_network(name, None, None)
    return dict(made.pretrained_cfg)


def timm_network(
    name: str, num_classes: int | None, size: int | None, pretrained: bool = False
) -> nn.Module:
    """A network of timm, with its published weights if `pretrained`.

    `size`: pixels a side; networks of a fixed size are made for it. None for their own.
    Raises InputError if timm is missing, has no such network or weights, or cannot fetch them.
    """
    try:
        import timm
    except ImportError as error:
        raise InputError(f"timm is not installed, and {name} is its: pip install timm") from error
    # Its retries without a network fill the screen before the one line below.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    try:
        network: Any = timm.create_model(name, pretrained=pretrained, **options)
        facts = network.pretrained_cfg
        fixed = facts.get("fixed_input_size") and facts["input_size"][-1]
        if size is not None and fixed and size != fixed:
            network = timm.create_model(name, pretrained=pretrained, img_size=size, **options)
    except Exception as error:  # timm, the hub's client and safetensors raise what they like
        raise InputError(
            f"timm cannot make {name} ({one_line(error)}){_advice(name, pretrained)}"
        ) from error
    made: nn.Module = network
    return made


def _advice(name: str, pretrained: bool) -> str:
    """What to do where timm makes no network of this name."""
    from timm.models import list_models, list_pretrained

    if name.startswith("local-dir:"):
        return "; give a folder with config.json and weights"
    base, dot, _ = name.partition(".")
    if ":" not in name and base not in list_models():
        near = did_you_mean(base, list_models())
        return near if near != "." else "; timm.list_models() lists its names"
    tags = [each.removeprefix(f"{base}.") for each in list_pretrained(f"{base}.*")]
    if dot and ":" not in name and name.removeprefix(f"{base}.") not in tags:
        return f"; its tags are {', '.join(tags) or 'none'}"
    if pretrained or ":" in name:
        return "; check name and connection, or download it elsewhere and give --weights FILE"
    return "; give another --size"
