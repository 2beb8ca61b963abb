"""The page of precompute/show.py."""

from precompute.show_cards import add_samples
from precompute.show_pictures import THUMBNAIL, encoded, resized
from precompute.show_plots import statistics_pngs
from precompute.shown import Shown
from precompute.shown_samples import thumbnails
from precompute.worst_labelled import LISTED, PICTURED, Worst
from shared.errors import printable
from shared.page import Page
from shared.targets.tails import HEAVY

LONGEST_TABLE = 8  # rows that are shown at once


def make_page(shown: Shown) -> str:
    page = Page(f"What is in {shown.cache.where}")
    _facts(page, shown)
    for text in shown.notes:
        page.note(printable(text))
    _statistics(page, shown)
    _tails(page, shown)
    _worst(page, shown)
    add_samples(page, shown)
    return page.html()


def _facts(page: Page, shown: Shown) -> None:
    manifest, found = shown.cache.manifest, shown.found
    teacher = manifest.teacher
    rows = [
        ("images", f"{found.samples:,} of {manifest.source.spec}, split {manifest.split}"),
        ("classes", f"{len(manifest.source.classes):,}"),
        ("views", f"{manifest.views:,} an image, {manifest.view_policy}, {manifest.size} px"),
        ("teacher", f"{teacher.architecture}, weights {teacher.weights}"),
        ("kept of it", ", ".join([*manifest.targets, *manifest.added])),
        ("stored as", f"{manifest.format}, codec {manifest.codec}"),
    ]
    page.table(["", ""], [[name, printable(value)] for name, value in rows])


def _statistics(page: Page, shown: Shown) -> None:
    found = shown.found
    mixes = shown.cache.manifest.view_policy.mixes
    page.heading("What the teacher says")
    if found.has_labels:
        text = f"Its answer is the label in {found.accuracy:.2%} of the views."
        if mixes:
            text += (
                " Views are mixed of two images: the label is that of the image with the larger "
                "share, and no view is guided, as losses with a guide need a single label."
            )
        else:
            text += (
                f" Guided distillation (GKD) uses its logits where its answer is the label: "
                f"{found.guided:.2%} of the views are guided."
            )
        page.text(text)
    if found.has_loss:
        page.text(
            f"Its confidence is off by {100 * found.calibration_error:.1f} percentage points on "
            f"average (expected calibration error). A point below the dotted line means that it is "
            f"more often wrong than it says."
        )
    with page.row():
        for plot, what in statistics_pngs(found):
            page.png(plot, what)
    if len(found.views) <= LONGEST_TABLE:
        page.table(*_by_view(shown))
    else:
        with page.details(f"the numbers of {len(found.views)} views"):
            page.table(*_by_view(shown))


def _by_view(shown: Shown) -> tuple[list[str], list[list[str]]]:
    found = shown.found
    columns = ["view", "images"]
    columns += ["right"] * found.has_labels
    guides = found.has_labels and not shown.cache.manifest.view_policy.mixes
    columns += ["guided"] * guides + ["loss"] * found.has_loss + ["confidence"] * found.has_logits
    rows = []
    for of in found.of_view:
        count = max(1, of.samples)
        row = [f"{of.view}", f"{of.samples:,}"]
        row += [f"{100 * of.right / count:.2f} %"] * found.has_labels
        row += [f"{100 * of.guided / count:.2f} %"] * guides
        row += [f"{of.loss / count:.4f}"] * found.has_loss
        row += [f"{100 * of.confidence / count:.2f} %"] * found.has_logits
        rows.append(row)
    return columns, rows


def _tails(page: Page, shown: Shown) -> None:
    tails = shown.tails
    if tails is None:
        return
    page.heading("Outliers among the channel means")
    page.text(
        "A loss on channel means follows the images that hold most of their variance. For each "
        "stage: the share of the variance that 1 % of the images hold, which is about 4 % if they "
        "are spread like a Gaussian, and how far out the farthest image lies, relative to the "
        "median."
    )
    widths = shown.cache.manifest.teacher.channels
    page.table(
        ["stage", "channels", "held by 1 % of the images", "farthest image / median"],
        [
            [stage + 1, width, f"{100 * share:.1f} %", f"{far:.1f}"]
            for stage, (width, share, far) in enumerate(
                zip(widths, tails.share, tails.farthest, strict=True)
            )
        ],
    )
    if tails.are_heavy:
        page.note(
            f"1 % of the images hold more than {HEAVY:.0%} of the variance of a stage: train with "
            f"a recipe that has rcd in its name, which limits what a single image counts."
        )


def _worst(page: Page, shown: Shown) -> None:
    worst = shown.worst[:PICTURED]
    if not worst:
        return
    page.heading("Are these labels wrong?")
    views = len(shown.found.views)
    text = (
        f"The teacher's loss is highest on these {len(worst)} images (cross entropy with the "
        f"label, averaged over {views} view{'s' if views > 1 else ''}). Wrong labels are found "
        f"among such images, and so are images that are hard. --worst FILE.csv lists "
        f"{min(LISTED, shown.found.samples):,} of them."
    )
    if shown.cache.manifest.view_policy.mixes:
        text += " As views are mixed, the image with which one was mixed can be the reason."
    page.text(text)
    images, rows = [], []
    found = thumbnails(shown.cache, shown.source, [one.index for one in worst])
    for one, pixels in zip(worst, found, strict=True):
        if pixels is not None:
            images.append((encoded(resized(pixels, THUMBNAIL)[0]), _caption(one)))
        else:
            cells = [one.key, one.label, one.answer, f"{one.votes} of {one.views}"]
            rows.append([*map(printable, cells), f"{one.loss:.3f}"])
    page.images(images)
    if rows:
        head = ["image", "label", "teacher's answer", "in views", "loss"]
        page.table(head, rows)


def _caption(one: Worst) -> str:
    return (
        f"label: {printable(one.label)}\nteacher: {printable(one.answer)}"
        f"{f' ({one.votes} of {one.views})' if one.views > 1 else ''}\n"
        f"loss {one.loss:.2f}\n{printable(one.key)}\nindex {one.index}"
    )
