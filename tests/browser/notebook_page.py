"""One notebook in JupyterLab's page: open it, run it, read what its cells show, move its sliders, photograph it."""

CELLS = ".jp-Notebook .jp-CodeCell"
PROMPTS = f"{CELLS} > .jp-Cell-inputWrapper .jp-InputArea-prompt"
ALL_PROMPTS = f"[...document.querySelectorAll({PROMPTS!r})].map(prompt => prompt.textContent)"
CLEARED = f"{ALL_PROMPTS}.every(text => text.includes('[ ]'))"
FINISHED = f"(shown => /\\d/.test(shown[0]) && !shown.some(text => text.includes('*')))({ALL_PROMPTS})"
ERRORS = [f"application/vnd.jupyter.{kind}" for kind in ("error", "stderr")]
SCROLLER = ".jp-NotebookPanel-notebook .jp-WindowedPanel-outer"
SLIDERS = ".jp-Notebook .jupyter-widgets .noUi-handle"

PICTURES = """async () => {
    const parts = [];
    for (const image of document.querySelectorAll('.jp-Notebook .jupyter-widgets img')) {
        const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
        parts.push(bytes.length + ':' + bytes.reduce((sum, byte) => (31 * sum + byte) % 1000003, 0));
    }
    return parts.join(' ');
}"""

# An output that has a scroll bar of its own, or a picture, table or text that ends outside its cell.
TOO_WIDE = """() => {
    const found = [], right = document.querySelector('.jp-Notebook').getBoundingClientRect().right;
    document.querySelectorAll('.jp-Notebook .jp-Cell').forEach((cell, i) => {
        for (const part of cell.querySelectorAll('.jp-OutputArea-output, .jp-MarkdownOutput, img, table, pre')) {
            const over = Math.max(part.scrollWidth - part.clientWidth, part.getBoundingClientRect().right - right);
            if (part.clientWidth && over > 1)
                found.push(`cell ${i}: ${part.tagName.toLowerCase()} ${Math.round(over)} px too wide, `
                    + part.textContent.trim().slice(0, 40));
        }
    });
    return found;
}"""

CODE = ".jp-Notebook .jp-CodeCell .jp-CodeMirrorEditor .cm-scroller"
# Code that is read only by scrolling sideways.
CUT_CODE = """() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].flatMap((cell, i) =>
    [...cell.querySelectorAll('.jp-CodeMirrorEditor .cm-scroller')]
        .filter(part => part.clientWidth && part.scrollWidth > part.clientWidth + 1)
        .map(part => `cell ${i}: ${part.scrollWidth - part.clientWidth} px cut off`))"""


def open_notebook(page, url):
    """Until its cells are there and the kernel waits for work."""
    page.goto(url)
    page.wait_for_selector(CELLS, timeout=60_000)
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=60_000)


def run_all(page, minutes):
    """By the menu, as a learner does, the committed outputs cleared before; until no cell is waiting or running."""
    menu(page, "Edit", "Clear Outputs of All Cells")
    page.wait_for_function(CLEARED, timeout=10_000)
    menu(page, "Run", "Run All Cells")
    page.wait_for_function(FINISHED, timeout=minutes * 60_000, polling=500)


def menu(page, name, entry):
    page.get_by_role("menuitem", name=name, exact=True).click()
    page.get_by_role("menuitem", name=entry, exact=True).click()


def prompts(page):
    """What stands left of each code cell: `[1]:`, or `[ ]:` where a cell was not run."""
    return [text.strip() for text in page.locator(PROMPTS).all_text_contents()]


def errors(page):
    """Text of every traceback and everything written to stderr, with the number of its cell."""
    found = []
    for i, cell in enumerate(page.locator(".jp-Notebook .jp-Cell").all()):
        for kind in ERRORS:
            found += [f"cell {i}: {text}" for text in cell.locator(f'[data-mime-type="{kind}"]').all_text_contents()]
    return found


def pictures(page):
    """A checksum of the pixels that the widgets' pictures show; None while one of them is being exchanged."""
    from playwright.sync_api import Error

    try:
        return page.evaluate(PICTURES)
    except Error:  # the address of the old picture is gone, the new one is not there yet
        return None


def press(page, slider, key):
    """A key on a slider's handle: what the pictures were, and what they are once they differ (10 s at most)."""
    slider.scroll_into_view_if_needed()
    slider.focus()
    before = after = pictures(page)
    page.keyboard.press(key)
    for _ in range(50):
        after = pictures(page)
        if after not in (None, before):
            break
        page.wait_for_timeout(200)
    return before, after


def reached_by_tab(page, start, goal, presses=6):
    """Does Tab lead from one element to another?"""
    start.focus()
    for _ in range(presses):
        page.keyboard.press("Tab")
        if goal.evaluate("node => node === document.activeElement"):
            return True
    return False


def file_browser(page):
    """Open the panel at the left if it is closed, close it if it is open."""
    page.keyboard.press("Control+b")
    page.wait_for_timeout(1000)


def resize(page, width, height=800):
    """Change the window, and wait until JupyterLab has laid out its page anew."""
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(1000)


def photograph(page, folder, name, width, height=1600):
    """The whole notebook from top to bottom, as `name`_`width`_1.png, _2.png, ..., and its first view as people see it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{name}_{width}_*.png"):
        old.unlink()
    resize(page, width, 768 if width < 1200 else 800)
    scroll(page, 0)
    page.screenshot(path=folder / f"{name}_{width}_first_view.png")
    resize(page, width, height)
    total, step = page.eval_on_selector(SCROLLER, "panel => [panel.scrollHeight, panel.clientHeight]")
    for i in range(-(-total // step)):
        scroll(page, i * step)
        page.screenshot(path=folder / f"{name}_{width}_{i + 1}.png")


def scroll(page, to):
    page.eval_on_selector(SCROLLER, "(panel, to) => panel.scrollTo(0, to)", to)
    page.wait_for_timeout(200)
