"""HTML of one self-contained page: elements, tables, pictures as data, style sheet."""
import base64
import html
import io

import matplotlib.pyplot as plt

STYLE = """
:root { --ink: #1c2330; --soft: #565f70; --line: #d5d9e0; --paper: #fff; --wash: #f4f6f9; --link: #00558a; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, "Segoe UI", Roboto,
  "DejaVu Sans", Arial, sans-serif; }
header, main, footer { max-width: 76rem; margin: 0 auto; padding: 0 clamp(1rem, 3vw, 2.5rem); }
header { padding-top: 2rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .4rem 0 .9rem; max-width: 46rem; }
.soft, figcaption { color: var(--soft); }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; margin: 1rem 0 0; padding: 0; }
nav a { display: inline-block; padding: .25rem 0; }
.note { background: #fff6e0; border-left: 4px solid #b36b00; padding: .6rem 1rem; margin: 1.2rem 0; }
.note ul { margin: .3rem 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
/* Shadows at the edges tell that a table goes on there; the page's own colour moves over them at its ends. */
.box { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; background:
  linear-gradient(90deg, var(--paper) 40%, transparent) 0 0 / 2.5rem 100%,
  linear-gradient(270deg, var(--paper) 40%, transparent) 100% 0 / 2.5rem 100%,
  linear-gradient(90deg, #0003, transparent) 0 0 / .8rem 100%,
  linear-gradient(270deg, #0003, transparent) 100% 0 / .8rem 100%;
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll; }
.box:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
figure.table { margin: 1rem 0 1.6rem; }
figure.table figcaption { margin: 0 0 .4rem; max-width: 46rem; }
th, td { padding: .4rem .8rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--line);
  vertical-align: top; }
thead th { border-top: 0; border-bottom: 1px solid var(--soft); }
th { font-weight: 600; }
th[scope=row], td.text, th.text { text-align: left; }
tbody tr:hover { background: #0055aa0d; }
.away { font-weight: 600; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 23rem), 1fr)); gap: 1.2rem;
  margin: .8rem 0; }
figure { margin: 0; min-width: 0; }
figure img { display: block; width: 100%; height: auto; }
figcaption { font-size: .9rem; margin-top: .3rem; overflow-wrap: anywhere; }
details { margin: .5rem 0; border: 1px solid var(--line); border-radius: 6px; }
summary { padding: .5rem .9rem; cursor: pointer; overflow-wrap: anywhere; }
pre { margin: 0; padding: .6rem .9rem; overflow-x: auto; font-size: .82rem; line-height: 1.4; background: var(--wash); }
footer { margin-top: 3rem; padding-bottom: 2rem; font-size: .9rem; color: var(--soft); }
@media (max-width: 40rem) {
  th, td { padding: .35rem .5rem; }
  td.text:not(:last-child) { white-space: normal; }
}
@media print {
  body { font-size: 10pt; }
  nav, details:not([open]) { display: none; }
  h2 { break-after: avoid; }
  figure, tr, .note { break-inside: avoid; }
  .box { overflow: visible; border: 0; }
  th, td { white-space: normal; padding: .2rem .4rem; }
  .pictures { grid-template-columns: 1fr 1fr; }
}
"""


class Markup(str):
    """Text that is HTML already."""


def escape(child):
    return child if isinstance(child, Markup) else html.escape(str(child), quote=False)


def element(tag, *children, **attributes):
    """<tag attribute="value">children</tag>; texts are escaped. class_ stands for class, _ in names for -."""
    written = ''.join(f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
                      for name, value in attributes.items())
    if tag in ('img', 'meta'):
        return Markup(f'<{tag}{written}>')
    return Markup(f'<{tag}{written}>{"".join(escape(child) for child in children)}</{tag}>')


def table(caption, headings, rows, texts=()):
    """A table in a box of its own that scrolls. The first cell of a row is its heading; columns in `texts` are texts."""
    kind = [{'class_': 'text'} if i == 0 or i in texts else {} for i in range(len(headings))]
    head = element('tr', *(element('th', h, scope='col', **k) for h, k in zip(headings, kind)))
    body = [element('tr', element('th', row[0], scope='row'), *(element('td', c, **k) for c, k in zip(row[1:], kind[1:])))
            for row in rows]
    whole = element('table', element('thead', head), element('tbody', *body), aria_label=caption)
    # Keyboards scroll a box only when it can have the focus.
    box = element('div', whole, class_='box', tabindex='0', role='region', aria_label=caption)
    # The caption stays where it is while the box scrolls.
    return element('figure', element('figcaption', caption), box, class_='table')


def picture(drawn, alt, caption=''):
    """An Axes or Figure as <figure> with the SVG inside; closes it."""
    figure = getattr(drawn, 'figure', drawn)
    data = io.BytesIO()
    with plt.rc_context({'svg.hashsalt': 'ivory'}):  # the same logs give the same bytes
        figure.savefig(data, format='svg', metadata={'Date': None, 'Creator': None})
    plt.close(figure)
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    source = 'data:image/svg+xml;base64,' + base64.b64encode(data.getvalue()).decode()
    image = element('img', src=source, alt=alt, width=width, height=height)
    return element('figure', image, *([element('figcaption', caption)] if caption else []))


def pictures(*figures):
    return element('div', *figures, class_='pictures')


def page(title, header, sections, footer):
    """The page of sections (id, heading, parts); those without parts are left out."""
    sections = [(name, heading, parts) for name, heading, parts in sections if parts]
    links = element('nav', element('ul', *(element('li', element('a', heading, href=f'#{name}'))
                                           for name, heading, _ in sections)), aria_label='On this page')
    body = [element('section', element('h2', heading, id=f'{name}-heading'), *parts, id=name,
                    aria_labelledby=f'{name}-heading') for name, heading, parts in sections]
    # The icon keeps browsers from asking for one.
    head = [element('meta', charset='utf-8'),
            element('meta', name='viewport', content='width=device-width, initial-scale=1'),
            element('title', title), Markup('<link rel="icon" href="data:,">'), Markup(f'<style>{STYLE}</style>')]
    return ('<!DOCTYPE html>\n' + element('html', element('head', *head), element(
        'body', element('header', element('h1', title), *header, links), element('main', *body),
        element('footer', *footer)), lang='en') + '\n')
