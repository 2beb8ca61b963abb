"""Tells when crops of the policy pad-crop show only a small part of each image.

pad-crop cuts a square of the network's size out of the image as it is, without a resize. That is
meant for images of about that size, as in CIFAR. Of larger images training sees enlarged parts,
and validation, which resizes the whole image, sees something else.
"""

from shared.errors import BadImage, note
from shared.images.source import ImageSource
from shared.pixels.decode import image_size

MUCH_LARGER = 1.25  # times the crop's side
TRIED = 8  # images, until one has a header that can be read


def note_small_crops(source: ImageSource, policy: str, size: int) -> None:
    """Prints a note if `policy` is pad-crop and the first image is much larger than `size` pixels.

    Raises InputError or StorageError if the source fails.
    """
    if policy != "pad-crop":
        return
    for index in range(min(TRIED, len(source))):
        try:
            height, width = image_size(source.read(index))
        except BadImage:
            continue
        if min(height, width) >= MUCH_LARGER * size:
            note(
                f"policy pad-crop cuts {size} x {size} pixels out of images of {width} x {height} "
                f"without a resize, so training sees small parts of them and validation the whole "
                f"image; choose policy random-resized-crop, or a size near that of the images"
            )
        return
