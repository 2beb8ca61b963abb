"""How far decoded targets may be from what the teacher said: computed, not measured."""

from torch import Tensor
from torch.nn.functional import linear

from shared.targets.arrays import FLOAT_NOISE
from shared.targets.encoding import Encoding
from shared.targets.targets import Head, Targets


def error_bound(encoding: Encoding, targets: Targets, head: Head | None) -> dict[str, Tensor]:
    """Largest |decoded - true| of every number of every kind kept, logits taken relative to
    their row's maximum."""
    found: dict[str, Tensor] = {}
    for kept in encoding.kinds:
        if (array := encoding.array_of(kept)) is not None:
            found[kept.name] = array.bound(targets[kept.name], kept.parts)
    if encoding.derives_logits:
        found["logits"] = _derived_bound(encoding, targets, found, head)
    return found


def error_bound_of_converted(
    encoding: Encoding, targets: Targets, head: Head | None
) -> dict[str, Tensor]:
    """The same of `tiny` fields that were made of half's and not by the teacher.

    They are of numbers c' that differ from c by half's error e at most: they are held to the
    bound of c + e, and to e.
    """
    half = Encoding("half", encoding.kinds)
    found: dict[str, Tensor] = {}
    for kept in encoding.kinds:
        own, theirs = encoding.array_of(kept), half.array_of(kept)
        if own is not None and theirs is not None:
            true = targets[kept.name]
            error = theirs.bound(true, kept.parts)
            found[kept.name] = own.bound(true + error, kept.parts) + error
    if encoding.derives_logits:
        found["logits"] = _derived_bound(encoding, targets, found, head)
    return found


def _derived_bound(
    encoding: Encoding, targets: Targets, bounds: Targets, head: Head | None
) -> Tensor:
    """The embedding's errors through the head, twice: that of a logit and of the maximum."""
    assert head is not None, "derived logits have no bound without the head"
    if "embedding" in bounds:
        embedding, errors = targets["embedding"], bounds["embedding"]
    else:
        width = encoding.stages[-1]
        embedding, errors = targets["channels"][:, -width:], bounds["channels"][:, -width:]
    noise = embedding.abs() * FLOAT_NOISE
    error = linear(errors + noise, head.weight.abs(), head.bias.abs() * FLOAT_NOISE)
    return error + error.amax(dim=1, keepdim=True)
