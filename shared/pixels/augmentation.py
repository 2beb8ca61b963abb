"""What is done to the pixels of training views after crop, resize and flip: the value of --augment.

    jitter=0.4,randaugment=2x9,erasing=0.25,mixup=0.2,cutmix=1.0

Each part is optional, and they are always applied in this order:

    jitter=S          brightness, contrast and saturation by up to S, as timm's --color-jitter; or
    jitter=B:C:S:H    each by its own strength, and hue by up to H turns. As torchvision's
                      ColorJitter. (Hue takes five times as long as the other three together.)
    randaugment=NxM   N operations of strength M, 0 to 30. As torchvision's RandAugment
    erasing=P         with probability P a rectangle becomes noise. As torchvision's RandomErasing
    mixup=A           blended with the same view of another image, with weights from Beta(A, A)
    cutmix=A          a rectangle comes from the same view of another image. With both, each view
                      has one of the two, with equal probability
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from shared.commandline import did_you_mean
from shared.errors import InputError

MOST_OPS = 8
MOST_MAGNITUDE = 30
LEAST_ALPHA, MOST_ALPHA = 0.05, 4.0


@dataclass(frozen=True)
class Augmentation:
    jitter: tuple[float, ...] | None = None  # brightness, contrast, saturation, hue
    randaugment: tuple[int, int] | None = None  # operations, magnitude
    erasing: float | None = None  # probability
    mixup: float | None = None  # alpha of the Beta distribution
    cutmix: float | None = None  # likewise

    @property
    def mixes(self) -> bool:
        """Whether a view has pixels of two images, and therefore two labels."""
        return self.mixup is not None or self.cutmix is not None

    def __str__(self) -> str:
        """The one way to write it, which manifests hold."""
        parts = []
        if self.jitter is not None:
            parts.append("jitter=" + ":".join(f"{strength:g}" for strength in self.jitter))
        if self.randaugment is not None:
            parts.append("randaugment={}x{}".format(*self.randaugment))
        for name in ("erasing", "mixup", "cutmix"):
            if (value := getattr(self, name)) is not None:
                parts.append(f"{name}={value:g}")
        return ",".join(parts)


@lru_cache(maxsize=16)
def parse_augmentation(text: str, what: str = "--augment") -> Augmentation:
    """Raises InputError, with one line that begins with `what`, if `text` is not as above."""
    found: dict[str, object] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in _PARSERS:
            name = name[:40]
            raise InputError(
                f"{what} has no part {name!r}{did_you_mean(name, _PARSERS)} The parts are "
                f"{', '.join(_PARSERS)}"
            )
        if name in found:
            raise InputError(f"{what} has {name} twice: give it once")
        parse, form = _PARSERS[name]
        try:
            found[name] = parse(value)
        except ValueError as error:
            raise InputError(f"{what}: {name} must be {form}: got {value[:40]!r}") from error
    return Augmentation(**found)  # type: ignore[arg-type]


def _number(text: str, least: float, most: float) -> float:
    # As the manifest will write it, so that the same text always means the same number.
    number = float(f"{float(text):g}")
    if not least <= number <= most:  # also catches nan
        raise ValueError
    return number


def _jitter(text: str) -> tuple[float, ...]:
    parts = text.split(":")
    if len(parts) == 1:
        return (*[_number(text, 0, 1)] * 3, 0.0)
    brightness, contrast, saturation, hue = parts
    colours = (_number(part, 0, 1) for part in (brightness, contrast, saturation))
    return (*colours, _number(hue, 0, 0.5))


def _randaugment(text: str) -> tuple[int, int]:
    ops, magnitude = (int(part) for part in text.split("x"))
    if not (1 <= ops <= MOST_OPS and 0 <= magnitude <= MOST_MAGNITUDE):
        raise ValueError
    return ops, magnitude


def _erasing(text: str) -> float:
    return _number(text, 0, 1)


def _alpha(text: str) -> float:
    return _number(text, LEAST_ALPHA, MOST_ALPHA)


_ALPHA_FORM = f"a number from {LEAST_ALPHA:g} to {MOST_ALPHA:g}, like 0.2"
# Name -> how its value is parsed, and what it looks like
_PARSERS: dict[str, tuple[Callable[[str], object], str]] = {
    "jitter": (
        _jitter,
        "one strength from 0 to 1, like 0.4, or those of brightness, contrast, saturation (0 to 1) "
        "and hue (0 to 0.5), like 0.4:0.4:0.4:0.1",
    ),
    "randaugment": (
        _randaugment,
        f"operations (1 to {MOST_OPS}) x magnitude (0 to {MOST_MAGNITUDE}), like 2x9",
    ),
    "erasing": (_erasing, "a probability from 0 to 1, like 0.25"),
    "mixup": (_alpha, _ALPHA_FORM),
    "cutmix": (_alpha, _ALPHA_FORM),
}
