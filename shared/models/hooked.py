"""Any `nn.Module` as a staged model. Hooks record the outputs of named modules, which are the
stages, and the input of the last linear layer, which is the embedding. The network itself runs
unchanged.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from shared.errors import InputError
from shared.models.found_stages import Shapes
from shared.models.layout import as_maps, layout_of
from shared.models.staged import AtStage, Run, StagedModel, channel_means, keep

_EMBEDDING = -1  # key in `_seen`, beside the stages' numbers


class HookedModel(StagedModel):
    def __init__(
        self,
        network: nn.Module,
        stage_modules: Sequence[str],
        last_linear: str | None,
        shapes: Shapes,
    ) -> None:
        """`stage_modules`: dotted names, in the order in which they run; empty if the network has a
        method `stages(x)` that returns the maps and that its forward calls. `last_linear`: the name
        of the last linear layer; None if the network has none, and the embedding is then the mean
        of the last stage. `shapes`: see output_shapes.

        Raises InputError if the network has no module of one of these names, or they are in another
        order, or one does not return maps.
        """
        super().__init__()
        self._network = network
        self.stage_modules = tuple(stage_modules)
        self._last_linear = last_linear
        self._layouts = [_layout(name, network, shapes) for name in self.stage_modules]
        places = [list(shapes).index(name) for name in self.stage_modules]
        if places != sorted(set(places)):
            order = ",".join(name for name in shapes if name in self.stage_modules)
            raise InputError(
                f"--stage-modules must name each module once, in the order in which they run, "
                f"{order}: got {','.join(self.stage_modules)}"
            )
        self._seen: dict[int, Tensor] = {}
        self._maps: list[Tensor] = []  # what the network's own `stages` returned
        modules = dict(network.named_modules())
        for stage, name in enumerate(self.stage_modules):
            modules[name].register_forward_hook(partial(self._see_stage, stage))
        if not self.stage_modules:
            # An attribute of the object is found before the method of its class.
            network.__dict__["stages"] = self._see_stages
        if last_linear is not None:
            modules[last_linear].register_forward_pre_hook(self._see_embedding)

    @property
    def network(self) -> nn.Module:
        return self._network

    @property
    def last_layer(self) -> nn.Linear | None:
        if self._last_linear is None:
            return None
        layer = self._network.get_submodule(self._last_linear)
        return layer if isinstance(layer, nn.Linear) else None

    def run(self, x: Tensor, at_stage: AtStage = keep) -> Run:
        self._seen.clear()
        logits: Tensor = self._network(x)
        if self.stage_modules:
            maps = [as_maps(self._seen[s], layout) for s, layout in enumerate(self._layouts)]
        else:
            maps = [as_maps(each) for each in self._maps]
        if not maps:
            raise InputError(
                f"{self.architecture} has a method stages(x), but its forward does not call it: "
                f"call it there, or name modules with --stage-modules"
            )
        embedding = self._seen.get(_EMBEDDING)
        self._seen.clear()  # keep nothing of this batch alive
        self._maps = []
        if embedding is None:
            embedding = channel_means(maps[-1])
        stages = tuple(at_stage(stage, each) for stage, each in enumerate(maps))
        return Run(stages, embedding, logits)

    def _see_stage(self, stage: int, module: nn.Module, given: Any, output: Tensor) -> None:
        self._seen[stage] = output

    def _see_stages(self, x: Tensor) -> list[Tensor]:
        self._maps = list(type(self._network).stages(self._network, x))  # type: ignore[attr-defined]
        return self._maps

    def _see_embedding(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._seen[_EMBEDDING] = given[0]


def _layout(name: str, network: nn.Module, shapes: Shapes) -> str:
    """The layout of a module's output. Raises InputError if there is no such module, or none."""
    if name not in dict(network.named_modules()):
        raise InputError(
            f"the network has no module {name!r}, which --stage-modules names: its top modules are "
            f"{', '.join(dict(network.named_children()))}"
        )
    layout = layout_of(shapes.get(name, ()))
    if layout is None:
        found = f"has the shape {shapes[name]}" if name in shapes else "is no tensor"
        raise InputError(
            f"the output of {name!r}, which --stage-modules names, {found}: a stage must return "
            f"square maps or tokens"
        )
    return layout
