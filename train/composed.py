"""Builds networks that may be composed of several."""

from collections.abc import Sequence

from shared.errors import InputError
from shared.models.build import build_model
from shared.models.names import parse_name
from shared.models.staged import StagedModel
from shared.models.weights import load_weights
from train.composition import Composition, Halves
from train.narrow import blocks_of
from train.projected import Projected
from train.split import Split


def build_network(
    architecture: str,
    classes: int,
    stem: str,
    size: int,
    stage_modules: Sequence[str] | None = None,
    composition: Composition | None = None,
) -> StagedModel:
    """See `build_model`; composed of several networks as `composition` says.

    Raises InputError as `build_model`, or if a network cannot be composed so.
    """
    if isinstance(composition, Halves):
        plain = parse_name(architecture).library == "plain"
        if not plain or len(composition.student) != len(blocks_of(architecture)[1]):
            raise InputError(
                f"{architecture} cannot be split with widths {composition.student}: give the "
                f"run.json that was written with these weights"
            )
        return Split(architecture, classes, stem, composition)
    model = build_model(architecture, classes, stem, size, stage_modules)
    return model if composition is None else Projected(model, composition)


def load_init(backbone: StagedModel, weights: str) -> None:
    """Fills the network that is named by --student, see `load_weights`."""
    assert not isinstance(backbone, Split), "refused by train/run_composition.py"
    trunk = backbone.trunk if isinstance(backbone, Projected) else backbone
    load_weights(trunk, weights, new_head=True)
