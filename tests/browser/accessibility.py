"""axe-core on the rendered notebook: what it finds in what we wrote, apart from what JupyterLab and ipywidgets build."""

from dataclasses import dataclass
from pathlib import Path

AXE = Path(__file__).parents[2] / "out" / "node" / "node_modules" / "axe-core" / "axe.min.js"

# What stands in these is ours: Markdown, tables, figures, and the widgets that we put together.
OURS = ".jp-RenderedHTMLCommon, .jp-RenderedImage, .jp-RenderedText, .jupyter-widgets"
# Ours by place, but out of our hands; (rule, selector, whose it is and why).
KNOWN = (
    ("image-alt", ".jp-RenderedImage img", "JupyterLab leaves out the alt text that the output's metadata has"),
    ("aria-input-field-name", ".noUi-handle", "ipywidgets ties a slider's label to no element; the label is visible"),
    ("aria-input-field-name", ".cm-content", "JupyterLab's editor"),
)

RUN = """async ([ours, known]) => {
    const result = await axe.run(document.querySelector('.jp-Notebook'), {resultTypes: ['violations']});
    const cells = [...document.querySelectorAll('.jp-Notebook .jp-Cell')];
    return result.violations.flatMap(rule => rule.nodes.map(node => {
        const element = document.querySelector(node.target[0]);
        const reason = known.find(([id, selector]) => id === rule.id && element.matches(selector));
        return {
            rule: rule.id, impact: rule.impact, cell: cells.findIndex(cell => cell.contains(element)),
            html: node.html.slice(0, 160), ours: !!element.closest(ours), reason: reason ? reason[2] : '',
        };
    }));
}"""


@dataclass(frozen=True)
class Violation:
    rule: str  # axe's name of the rule
    impact: str  # minor, moderate, serious or critical
    cell: int  # counted from 0; -1 outside the cells
    html: str  # the start of the element
    ours: bool  # stands in what we wrote
    reason: str  # why it is not counted although it is ours by place, or ""

    def __str__(self):
        return f"cell {self.cell}: {self.rule} ({self.impact}) {self.html}"


def violations(page):
    """(ours, others): two lists of Violation. FileNotFoundError if axe-core was not fetched."""
    if not AXE.is_file():
        raise FileNotFoundError(f"{AXE} is missing: `make browser-test` fetches axe-core, or: npm install axe-core")
    # Lab's <body> has no height and hides what overflows: axe takes all text for invisible, and checks no contrast.
    page.add_style_tag(content="html, body { height: 100%; }")
    page.add_script_tag(path=AXE)
    found = [Violation(**row) for row in page.evaluate(RUN, [OURS, KNOWN])]
    return [v for v in found if v.ours and not v.reason], [v for v in found if not v.ours or v.reason]


def summary(others):
    """One line for each rule: how often, and whose it is."""
    counts = {}
    for v in others:
        key = v.rule, v.reason or "JupyterLab's frame around the cells"
        counts[key] = counts.get(key, 0) + 1
    return [f"{rule}: {count} times; {whose}" for (rule, whose), count in sorted(counts.items())]
