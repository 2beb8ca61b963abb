"""What each kind of targets is, against slow references; their names and shapes."""

import pytest
import torch
from torch import Tensor

from shared.errors import InputError
from shared.models.staged import Outputs
from shared.targets.kinds import BASE, BY_STAGE, KINDS, Facts, kind_of, kinds_asked

WIDTHS, SIDES = (3, 5), ((6, 4), (7, 7))
ROWS, CLASSES = 4, 6


def outputs() -> Outputs:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).relu()

    stages = tuple(random(ROWS, width, *sides) for width, sides in zip(WIDTHS, SIDES, strict=True))
    means = tuple(stage.mean((2, 3)) for stage in stages)
    return Outputs(stages, means, means[-1], random(ROWS, CLASSES))


FACTS = Facts(CLASSES, WIDTHS, SIDES, WIDTHS[-1])
ALL = kinds_asked(",".join([*KINDS, *BY_STAGE]), FACTS.stages)


@pytest.mark.parametrize("name", ALL)
def test_a_kind_has_the_shape_that_follows_from_the_network(name: str) -> None:
    kind = kind_of(name)
    assert kind.name == name and kind.meaning
    values = kind.read(outputs())
    assert values.shape == (ROWS, *kind.shape(FACTS)) and values.dtype == torch.float32
    assert (
        set(kind.codecs) <= {"exact", "half", "compact", "tiny"} and kind.codecs["exact"] == "f32"
    )


def test_attention_is_the_normalised_mean_of_squares() -> None:
    given = outputs()
    for stage, name in enumerate(("attention1", "attention2")):
        found = kind_of(name).read(given)
        for row in range(ROWS):
            maps = given.stages[stage][row].double()
            slow = torch.tensor([
                sum(float(maps[c, y, x]) ** 2 for c in range(len(maps))) / len(maps)
                for y in range(maps.shape[1]) for x in range(maps.shape[2])
            ]).double()  # fmt: skip
            slow = slow / slow.square().sum().sqrt()
            torch.testing.assert_close(found[row].double(), slow, rtol=1e-5, atol=1e-7)


def test_attention_of_a_stage_of_zeros_is_zero() -> None:
    given = outputs()
    zeros = tuple(torch.zeros_like(stage) for stage in given.stages)
    found = kind_of("attention1").read(Outputs(zeros, given.means, given.embedding, given.logits))
    assert (found == 0).all()


def test_grid4_is_mean_and_deviation_of_the_cells() -> None:
    """Cell i of 4 over n pixels: from floor(i n / 4) to ceil((i + 1) n / 4), as pooling has it."""
    given = outputs()
    found = kind_of("grid4").read(given).double()
    last = given.stages[-1].double()
    side = last.shape[2]
    for y in range(4):
        for x in range(4):
            rows = slice(y * side // 4, -(-(y + 1) * side // 4))
            columns = slice(x * side // 4, -(-(x + 1) * side // 4))
            cell = last[:, :, rows, columns].flatten(2)
            torch.testing.assert_close(found[:, 0, :, y, x], cell.mean(2), rtol=1e-5, atol=1e-6)
            deviation = cell.std(2, correction=0)
            torch.testing.assert_close(found[:, 1, :, y, x], deviation, rtol=1e-3, atol=1e-3)


def test_maps_channels_and_embedding_are_what_the_network_says() -> None:
    given = outputs()
    assert torch.equal(kind_of("map2").read(given), given.stages[1])
    assert torch.equal(kind_of("channels").read(given), torch.cat(given.means, dim=1))
    assert torch.equal(kind_of("embedding").read(given), given.embedding)
    assert torch.equal(kind_of("logits").read(given), given.logits)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("logits,channels", BASE),
        ("channels, logits ,channels", ("channels", "logits")),
        ("attention", ("attention1", "attention2")),
        ("map2,attention2,map", ("map2", "attention2", "map1")),
    ],
)
def test_names_that_are_asked_for(text: str, names: tuple[str, ...]) -> None:
    assert kinds_asked(text, 2) == names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("attention3", "2 stages"),
        ("map0", "no kind of targets called 'map0'"),
        ("attention01", "called 'attention01'"),
        ("logit", "called 'logit'"),
        ("", "must name what to keep"),
    ],
)
def test_names_that_there_are_not(text: str, found: str) -> None:
    with pytest.raises(InputError, match=found):
        kinds_asked(text, 2)
