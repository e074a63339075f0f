"""The page of an examination as HTML: self-contained, without JavaScript."""

from html import escape

from rmtutorial.examine_page import verdict

# Okabe-Ito's colours, darkened where text stands on white (contrast 4.5 to 1).
CSS = """
.exam { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 56rem; margin: 1.5rem auto; padding: 0 1rem }
.exam h1 { font-size: 1.35rem; margin: 0 0 .3rem; overflow-wrap: anywhere } .exam h2 { font-size: 1rem; margin: 1.4rem 0 .4rem; color: #444 }
.exam .verdict { border-left: .4rem solid #007a5a; background: #eef7f3; padding: .5rem .9rem }
.exam .verdict.wrong { border-color: #b34a00; background: #fdf1e8 }
.exam .check { border-left: .3rem solid #007a5a; padding: .1rem 0 .1rem .8rem; margin: .7rem 0; overflow-wrap: anywhere }
.exam .fail { border-color: #b34a00 } .exam .warn { border-color: #0072b2 } .exam .skipped { border-color: #999 }
.exam .check p { margin: .1rem 0; color: #333 } .exam small { color: #595959 }
.exam .tag { font-size: .75rem; font-weight: 700; padding: .05rem .4rem; border: 1px solid; margin-right: .5rem; color: #00664b }
.exam .fail .tag { color: #a04000 } .exam .warn .tag { color: #005a8d } .exam .skipped .tag { color: #595959 }
"""
TAGS = {"fail": "FAILS", "warn": "WARNING", "skipped": "SKIPPED", "ok": "IN ORDER"}
TITLES = {
    "fail": "Scores are wrong",
    "warn": "To be known before these scores are used",
    "skipped": "Not looked at",
    "ok": "In order",
}


def page(examination):
    """A whole document."""
    title = f"Examination of {escape(examination.model)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"></head><body>{body(examination)}</body></html>\n'
    )


def body(examination):
    """What stands in the document, with its style: a notebook shows it too."""
    wrong = " wrong" if examination.wrong else ""
    said = verdict(examination).removeprefix(f"{examination.model}: ")
    notes = "".join(f"<p>{escape(note)}</p>" for note in examination.notes)
    return (
        f'<style>{CSS}</style><div class="exam"><h1>Examination of {escape(examination.model)}</h1>'
        f'<p class="verdict{wrong}">{escape(said[0].upper() + said[1:])}.</p>'
        f"<p><small>{escape(examination.kind)}; {examination.texts:,} texts read. An ordinary margin is the median distance of "
        f"two answers to one prompt; intervals are 95 %, by set.</small></p>{notes}"
        f"{''.join(_part(examination, status) for status in TITLES)}</div>"
    )


def _part(examination, status):
    checks = "".join(_check(finding) for finding in examination.findings if finding.status == status)
    return f"<h2>{TITLES[status]}</h2>{checks}" if checks else ""


def _check(finding):
    do = f"<p><em>{escape(finding.do)}</em></p>" if finding.do else ""
    guards = f"<p><small>Guards against {escape(finding.guards)}</small></p>" if finding.guards else ""
    return (
        f'<div class="check {finding.status}"><span class="tag">{TAGS[finding.status]}</span>'
        f"<strong>{escape(finding.name)}</strong><p>{escape(finding.found)}</p>{do}{guards}</div>"
    )
