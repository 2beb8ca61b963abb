"""The built-in image set `digits`, for machines without data or network.

scikit-learn includes 1,797 handwritten digits of 8x8 pixels (UCI, E. Alpaydin and C. Kaynak, 1998).
They are written once as an ordinary ImageFolder, so that no other code needs to know about them:

    <root>/{train,val}/<digit>/<index in scikit-learn's order>.jpg      32x32 RGB JPEG

Every fifth sample of each digit goes to val: 1,442 train, 355 val.
"""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from shared.errors import InputError

SIDE = 32  # pixels, as in CIFAR, so that the CIFAR stem and pad-crop can be used
QUALITY = 95
SAMPLES = 1797


def write_digits(root: Path) -> None:
    """Writes the set to `root`, unless it is already there.

    `root` appears complete or not at all. If several processes write it at once, all use the copy
    that is finished first.

    Raises InputError if scikit-learn is missing or `root` holds something else.
    """
    if not root.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
            tree = Path(temporary, root.name)
            _write_tree(tree)
            try:
                tree.rename(root)
            except OSError:
                if not root.exists():
                    raise
    found = sum(path.stat().st_size > 0 for path in root.glob("*/*/*.jpg"))
    if found != SAMPLES:
        raise InputError(
            f"{root} does not hold the {SAMPLES} images of the built-in digits, but {found}: "
            f"remove this folder and it is written again"
        )


def _write_tree(tree: Path) -> None:
    try:  # here and not above: it takes a second and only the first run needs it
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "the built-in image set digits needs scikit-learn: pip install scikit-learn, "
            "or name an ImageFolder with --images"
        ) from error
    digits = load_digits()
    seen: Counter[int] = Counter()
    for index, (image, digit) in enumerate(zip(digits.images, digits.target.tolist(), strict=True)):
        split = "val" if seen[digit] % 5 == 4 else "train"
        seen[digit] += 1
        path = tree / split / str(digit) / f"{index:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = (image.astype(np.uint32) * 255 + 8) // 16  # 0..16 -> 0..255, halves up
        Image.fromarray(grey.astype(np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        ).convert("RGB").save(path, "JPEG", quality=QUALITY)
