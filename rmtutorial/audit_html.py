"""The page of an audit as HTML: self-contained, without JavaScript."""

from html import escape

from rmtutorial.audit_text import percent, verdict, where

# Okabe-Ito's colours, darkened where text stands on white (contrast 4.5 to 1).
CSS = """
.audit { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem }
.audit h1 { font-size: 1.35rem; margin: 0 0 .3rem } .audit h2 { font-size: 1rem; margin: 1.4rem 0 .4rem; color: #444 }
.audit .verdict { border-left: .4rem solid #007a5a; background: #eef7f3; padding: .5rem .9rem }
.audit .verdict.spoils { border-color: #b34a00; background: #fdf1e8 }
.audit .columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 0 2.5rem }
.audit table { border-collapse: collapse; width: 100%; margin: 0 } .audit td, .audit th { padding: .15rem .6rem .15rem 0; text-align: left; vertical-align: top; border: 0; background: #fff }
.audit th { font-weight: 600; color: #555; white-space: nowrap } .audit .n { text-align: right; font-variant-numeric: tabular-nums }
.audit .bar { position: relative; background: #eee; height: .8rem; min-width: 6rem; margin-top: .3rem }
.audit .bar i { position: absolute; height: 100%; background: #0072b2 } .audit .bar b { position: absolute; left: 50%; width: 2px; height: 140%; top: -20%; background: #222 }
.audit .bar s { position: absolute; height: 2px; top: calc(50% - 1px); background: #e69f00 }
.audit .finding { border-left: .3rem solid #999; padding: .1rem 0 .1rem .8rem; margin: .7rem 0 } .audit .finding.spoils { border-color: #b34a00 } .audit .finding.look { border-color: #0072b2 }
.audit .finding p { margin: .1rem 0; color: #444 } .audit .tag { font-size: .75rem; font-weight: 700; padding: .05rem .4rem; border: 1px solid; margin-right: .5rem; color: #595959 }
.audit .spoils .tag { color: #a04000 } .audit .look .tag { color: #005a8d } .audit small { color: #595959 }
"""
TAGS = {"spoils": "SPOILS", "look": "LOOK", "note": "NOTE"}


def page(audit):
    """A whole document."""
    title = f"Audit of {escape(audit.source)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"></head><body>{body(audit)}</body></html>\n'
    )


def body(audit):
    """What stands in the document, with its style: a notebook shows it too."""
    spoils = " spoils" if audit.spoils else ""
    left, right = _set(audit) + _tokens(audit), _shortcuts(audit)
    return (
        f'<style>{CSS}</style><div class="audit"><h1>Audit of {escape(audit.source)}</h1>'
        f'<p class="verdict{spoils}">{escape(verdict(audit).removeprefix(audit.source + ": "))}</p>'
        f'<div class="columns"><div>{left}</div><div>{right}</div></div>'
        f"<h2>Findings</h2>{''.join(map(_finding, audit.findings)) or '<p>Nothing found.</p>'}</div>"
    )


def _set(audit):
    rows = [("rows", f"{n:,}: {form}") for form, n in list(audit.forms.items())[:6]]
    rows += [("split", ", ".join(f"{name} {n:,}" for name, n in audit.splits.items())), ("ratings", audit.ratings),
             ("scripts", percent(audit.scripts)), ("languages", percent(audit.languages))]  # fmt: skip
    cells = "".join(f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in rows if text)
    return f"<h2>The set</h2><table>{cells}</table>"


def _tokens(audit):
    if not audit.tokens:
        return ""
    names = "".join(f'<th class="n">{name}</th>' for name in next(iter(audit.tokens.values())))
    lines = "".join(
        f"<tr><th>{part}</th>" + "".join(f'<td class="n">{n:,}</td>' for n in counts.values()) + "</tr>"
        for part, counts in audit.tokens.items()
    )
    of = f"<small>{audit.looked_at:,} of {audit.pairs:,} pairs; max_length {audit.max_length:,}</small>"
    return f"<h2>Lengths in tokens</h2><table><tr><th></th>{names}</tr>{lines}</table>{of}"


def _shortcuts(audit):
    lines = "".join(map(_judge, audit.shortcuts))
    said = "Share of pairs that a judge ranks right that understands nothing; the black line is chance, the orange one the 95 % interval."
    return f"<h2>Shortcuts</h2><table>{lines}</table><small>{said}</small>" if lines else ""


def _judge(judge):
    low, wide = min(0.5, judge.accuracy), abs(judge.accuracy - 0.5)
    bar = (
        f'<div class="bar"><i style="left:{low:.1%};width:{wide:.1%}"></i>'
        f'<s style="left:{judge.low:.1%};width:{judge.high - judge.low:.1%}"></s><b></b></div>'
    )
    numbers = f"{judge.accuracy:.2f}&nbsp;<small>[{judge.low:.2f},&nbsp;{judge.high:.2f}]</small>"
    return f'<tr><th>{escape(judge.name)}</th><td style="width:45%">{bar}</td><td class="n">{numbers}</td></tr>'


def _finding(finding):
    count = f"{finding.count:,} " if finding.count else ""
    return (
        f'<div class="finding {finding.level}"><span class="tag">{TAGS[finding.level]}</span>'
        f"<strong>{count}{escape(finding.what)}</strong> <small>{escape(where(finding))}</small>"
        f"<p>{escape(finding.why)}</p><p><em>{escape(finding.do)}</em></p></div>"
    )
