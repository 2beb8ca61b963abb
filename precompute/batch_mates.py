"""Whether a teacher's targets for an image depend on the other images of its batch.

They should not in eval mode, but a matrix product may choose a kernel by the number of rows, and
kernels sum in different orders. `Teacher` pads batches so that the ResNets here are exact. Networks
of other families are tried once, before a cache is made, and the manifest says what was found.

Of 60 networks on two threads three were not exact, those with one query per image in their last
attention (timm's CaiT, XCiT and test_vit3). For 1 to 3 queries the bits of torch's attention on a
CPU depend on which thread gets a row (torch 2.15), so on its position in the batch. On three
threads timm's test_nfnet and test_efficientnet were not exact either. On one thread all were.
Differences were at most 4e-7 of a row's largest number.
"""

import torch

from shared.models.found_stages import probe_images
from shared.models.plain_resnet import PlainResNet
from shared.targets.teacher import Teacher

MANY = 32  # rows of a batch: no padding, and in reverse order every row is in the other half


def rows_of(teacher: Teacher, size: int) -> str:
    """`TeacherFacts.rows`: "exact" if MANY images have the same bits in reverse order, and the
    first one on its own, with two threads or more.

    `size`: pixels a side. With batch statistics it is "exact", as whole batches are then fixed.
    """
    if isinstance(teacher.model, PlainResNet) or teacher.statistics == "batch":
        return "exact"
    noise = 64 * probe_images(teacher.model, size, MANY) + 128
    pixels = noise.clamp(0, 255).to(torch.uint8)
    kinds = ("logits", "channels", "embedding")
    threads = torch.get_num_threads()
    torch.set_num_threads(max(2, threads))
    try:
        among, turned = teacher(pixels, kinds), teacher(pixels.flip(0), kinds)
        alone = teacher(pixels[:1], kinds)
    finally:
        torch.set_num_threads(threads)
    same = all(
        torch.equal(among[name], turned[name].flip(0)) and torch.equal(among[name][:1], alone[name])
        for name in kinds
    )
    return "exact" if same else "near"
