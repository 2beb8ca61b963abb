"""The embedding, with channels and without them, and the logits that are derived from it."""

import pytest
import torch
from torch.nn.functional import linear

from shared.errors import InputError
from shared.targets.arrays import relative_to_maximum
from shared.targets.bounds import error_bound
from shared.targets.codecs import CODECS, Kept, require_derivable
from shared.targets.encoding import Encoding
from shared.targets.targets import Head, Targets
from tests.coded_kinds import STAGES, beyond, encoded, every_codec, round_trip


def with_logits(codec: str, *others: str) -> tuple[Encoding, Targets, Head]:
    """Logits of 7 classes that are head(embedding), and some of channels and embedding."""
    generator = torch.Generator().manual_seed(0)
    channels = torch.rand(6, sum(STAGES), generator=generator) * 3
    embedding = channels[:, -STAGES[-1] :]
    head = Head(
        torch.randn(7, STAGES[-1], generator=generator), torch.randn(7, generator=generator)
    )
    logits = linear(embedding, head.weight, head.bias)
    targets = {"logits": logits, "channels": channels, "embedding": embedding}
    shapes = {name: values.shape[1:] for name, values in targets.items()}
    kept = tuple(Kept(name, shapes[name], STAGES) for name in ("logits", *others))
    return Encoding(codec, kept), targets, head


@every_codec
def test_the_embedding_of_channels_takes_no_bytes(codec: str) -> None:
    encoding, targets, head = with_logits(codec, "channels")
    assert encoding.offers("embedding") and not any("embedding" in n for n in encoding.fields())
    decoded = round_trip(encoding, targets, head)
    assert torch.equal(decoded["embedding"], decoded["channels"][:, -STAGES[-1] :])
    names = encoding.needed({"embedding"})
    assert names == (["channels", "scale"] if codec == "tiny" else ["channels"])
    some = {name: values for name, values in encoded(encoding, targets).items() if name in names}
    assert torch.equal(encoding.decode(some, None)["embedding"], decoded["embedding"])


@every_codec
def test_an_embedding_is_stored_where_there_are_no_channels(codec: str) -> None:
    encoding, targets, head = with_logits(codec, "embedding")
    assert encoding.offers("embedding") and not encoding.offers("channels")
    scale = ["embedding_scale"] if codec == "tiny" else []
    assert encoding.needed({"embedding"}) == ["embedding", *scale]
    decoded, bound = round_trip(encoding, targets, head), error_bound(encoding, targets, head)
    assert decoded.keys() == bound.keys() == {"logits", "embedding"}
    assert beyond(decoded["embedding"], targets["embedding"], bound["embedding"]) == 0
    sides = (relative_to_maximum(side["logits"]) for side in (decoded, targets))
    assert beyond(*sides, bound["logits"]) == 0
    if CODECS[codec].derives_logits:
        assert encoding.needed({"logits"}) == ["embedding", *scale]
        logits = linear(decoded["embedding"], head.weight, head.bias)
        assert torch.equal(decoded["logits"], logits)
        assert "logits" not in round_trip(encoding, targets)  # without the head
    else:
        assert encoding.needed({"logits"}) == ["logits"]


def test_the_bound_of_derived_logits_finds_another_head() -> None:
    """Negative control."""
    encoding, targets, head = with_logits("tiny", "embedding")
    other = Head(head.weight * 1.2, head.bias)
    sides = (
        relative_to_maximum(side["logits"])
        for side in (round_trip(encoding, targets, other), targets)
    )
    assert beyond(*sides, error_bound(encoding, targets, head)["logits"]) > 0


@every_codec
def test_logits_alone(codec: str) -> None:
    """Stored, or refused where the codec would have nothing to derive them from."""
    if CODECS[codec].derives_logits:
        with pytest.raises(InputError) as caught:
            require_derivable(codec, ("logits",))
        assert str(caught.value) == (
            f"--codec {codec} derives the logits from the channel means or the embedding: "
            f"--targets logits keeps neither; add channels, or use --codec half"
        )
        require_derivable(codec, ("logits", "embedding"))
        require_derivable(codec, ("channels",))
        return
    require_derivable(codec, ("logits",))
    encoding, targets, _ = with_logits(codec)
    assert not encoding.offers("embedding") and encoding.needed({"embedding", "guided"}) == []
    decoded = round_trip(encoding, targets)
    assert decoded.keys() == {"logits"}
    sides = (relative_to_maximum(side["logits"]) for side in (decoded, targets))
    assert beyond(*sides, error_bound(encoding, targets, None)["logits"]) == 0
