"""A network with trained weights."""

from collections.abc import Sequence

from shared.errors import InputError
from shared.models.build import USUAL_SIZE, build_model, measure
from shared.models.names import parse_name
from shared.models.staged import StagedModel
from shared.models.weights import OWN, classes_in, load_weights, state_of


def load_model(
    architecture: str,
    weights: str,
    num_classes: int | None,
    stem: str | None = None,
    size: int = USUAL_SIZE,
    stage_modules: Sequence[str] | None = None,
) -> StagedModel:
    """See `build_model` and `load_weights`. The model has as many classes as its weights;
    `num_classes` says how many they should have, so that it is built once."""
    model = build_model(architecture, num_classes, stem, size, stage_modules)
    library = parse_name(architecture).library
    if weights == OWN:
        if library != "own":
            raise InputError(
                f"--weights {OWN} is for networks of your own: give a file or a name for "
                f"{architecture}"
            )
        return model
    state = state_of(model, weights)
    found = classes_in(state, model)
    if found not in (None, model.num_classes):
        model = build_model(architecture, found, stem, size, stage_modules)
    load_weights(model, weights, state)
    if library != "plain":
        measure(model, size, model.num_classes)  # signs of the outputs depend on the weights
    return model
