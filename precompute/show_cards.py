"""The single views on the page of precompute/show.py, a card for each."""

from precompute.show_pictures import encoded, resized, source_with_box
from precompute.show_plots import channels_png
from precompute.shown import Shown
from precompute.shown_samples import Sample
from shared.errors import printable
from shared.page import Page


def add_samples(page: Page, shown: Shown) -> None:
    if not shown.samples:
        return
    page.heading("Single views")
    text = ""
    if shown.found.has_logits:
        text = "The five likeliest classes; green is the label. "
    if shown.found.has_channels:
        away = "spread of the lowest 99 % of its values" if shown.tails else "deviation"
        text += (
            f"The plots show each channel's mean in this view minus its mean over the split "
            f"(view {shown.found.views[0]}), in units of the channel's {away}."
        )
    if text:
        page.text(text.strip())
    for sample in shown.samples:
        with page.card(f"{printable(sample.key)} (index {sample.index}), view {sample.view}"):
            page.images(_pictures(shown, sample))
            _answers(page, sample)
            if sample.channels is not None:
                values = shown.standardised(sample.channels)
                plot = channels_png(values, shown.cache.manifest.teacher.channels)
                page.png(plot, "channel means against the split's, stage by stage")
        if sample.problem is not None:
            page.note(printable(sample.problem))


def _pictures(shown: Shown, sample: Sample) -> list[tuple[bytes, str]]:
    manifest, pictures = shown.cache.manifest, []
    box = sample.box
    source = source_with_box(sample, manifest.size)
    if source is not None and sample.source is not None:
        height, width = sample.source.shape[:2]
        caption = (
            f"source, {width} x {height} px\nbox {box.width} x {box.height} at "
            f"({box.left}, {box.top})"
        )
        pictures.append((encoded(source), caption))
    if sample.pixels is not None:
        caption = f"as the network sees it, {manifest.size} x {manifest.size} px"
        caption += "\nflipped" if box.flip else ""
        pictures.append((encoded(resized(sample.pixels)[0]), caption))
    return pictures


def _answers(page: Page, sample: Sample) -> None:
    label = printable(sample.label)
    if sample.partner is not None:
        label = f"{label} {sample.share:.0%}, {printable(sample.partner)} {1 - sample.share:.0%}"
    lines = [f"label: {label}", f"teacher: {printable(sample.answer)}"]
    if sample.guided is not None:
        lines.append("guided" if sample.guided else "not guided, as the answer is not the label")
    rights = {sample.label, sample.partner}
    bars = [(printable(name), chance, f"{100 * chance:.1f} %") for name, chance in sample.top]
    marked = [place for place, (name, _) in enumerate(sample.top) if name in rights]
    page.bars(bars, marked, lines)
