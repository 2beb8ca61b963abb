"""Computes upper bounds of the difference between decoded targets and the teacher's outputs."""

from torch import Tensor
from torch.nn.functional import linear

from shared.targets.arrays import FLOAT_NOISE
from shared.targets.encoding import Encoding
from shared.targets.targets import Head, Targets


def error_bound(encoding: Encoding, targets: Targets, head: Head | None) -> dict[str, Tensor]:
    """Upper bound of |decoded - true| for each number of each kind.

    Logits are compared relative to their row's maximum.
    """
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
    """`error_bound` for `tiny` fields converted from `half`, not encoded from teacher outputs.

    `tiny` then encodes numbers c' that differ from the true c by up to e, the error of `half`. The
    bound is that of `tiny` for |c| + e, plus e.
    """
    half = Encoding("half", encoding.kinds, encoding.form)
    found: dict[str, Tensor] = {}
    for kept in encoding.kinds:
        own, theirs = encoding.array_of(kept), half.array_of(kept)
        if own is not None and theirs is not None:
            true = targets[kept.name]
            error = theirs.bound(true, kept.parts)
            found[kept.name] = own.bound(true + error.copysign(true), kept.parts) + error
    if encoding.derives_logits:
        found["logits"] = _derived_bound(encoding, targets, found, head)
    return found


def _derived_bound(
    encoding: Encoding, targets: Targets, bounds: Targets, head: Head | None
) -> Tensor:
    """The embedding's error, passed through the head: that of a logit plus that of the maximum."""
    assert head is not None, "derived logits have no bound without the head"
    if "embedding" in bounds:
        embedding, errors = targets["embedding"], bounds["embedding"]
    else:
        width = encoding.stages[-1]
        embedding, errors = targets["channels"][:, -width:], bounds["channels"][:, -width:]
    noise = embedding.abs() * FLOAT_NOISE
    error = linear(errors + noise, head.weight.abs(), head.bias.abs() * FLOAT_NOISE)
    return error + error.amax(dim=1, keepdim=True)
