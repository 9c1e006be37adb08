"""The summary as an SVG chart: small panels of bars, the line at 1.0 is the raw program."""
from html import escape

from .report import axis_end

WIDTH, MARGIN, GAP = 1000, 32, 36
PANEL = (WIDTH - 2 * MARGIN - GAP) // 2
NAME, LABEL = 112, 132  # room for names left of the bars, and for labels right of them
BAR, STEP, HEAD = 13, 19, 34
INK, FAINT, LINE, PAPER = "#1f2933", "#616e7c", "#9aa5b1", "#ffffff"
COLOURS = {"ferry": "#d9480f", "epoll": "#52606d"}
OTHERS = "#9fb3c8"
FONT = "font-family='system-ui, Segoe UI, Helvetica, Arial, sans-serif'"


def words(x, y, content, size=12, colour=INK, anchor="start", weight="normal"):
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' fill='{colour}' "
        f"text-anchor='{anchor}' font-weight='{weight}'>{escape(content)}</text>"
    )


def panel_height(panel):
    return HEAD + STEP * len(panel.bars) + 22


def draw_bar(bar, y, x0, scale, end, ratio):
    length = max(1.0, min(bar.value, end) * scale)
    colour = COLOURS.get(bar.name, OTHERS)
    weight = "bold" if bar.name == "ferry" else "normal"
    middle = y + BAR - 2.5
    parts = [
        words(x0 - 8, middle, bar.name, anchor="end", weight=weight),
        f"<rect x='{x0:.1f}' y='{y:.1f}' width='{length:.1f}' height='{BAR}' rx='2' "
        f"fill='{colour}'/>",
    ]
    if bar.value > end:  # cut off: a gap says so
        cut = x0 + length - 12
        parts.append(
            f"<path d='M{cut:.1f} {y + BAR + 1} l5 {-BAR - 2}' stroke='{PAPER}' stroke-width='3'/>"
        )
    after = max(length, scale) if ratio else length  # never across the line at 1.0
    first, _, rest = bar.label.partition("  ")
    parts.append(words(x0 + after + 7, middle, first, 11, weight=weight))
    if rest:
        parts.append(words(x0 + after + 7 + 6.4 * len(first) + 6, middle, rest, 11, FAINT))
    return parts


def draw_panel(panel, x, y):
    end = axis_end(panel)
    x0 = x + NAME
    room = PANEL - NAME - LABEL
    scale = room / end
    headline = panel.headline
    unit = f"{headline.unit} {headline.per}"
    parts = [
        words(x, y + 12, headline.title, 14, weight="bold"),
        words(x + PANEL, y + 12, unit, 11, FAINT, "end"),
    ]
    top, bottom = y + HEAD - 10, y + HEAD + STEP * len(panel.bars)
    parts.append(
        f"<line x1='{x0:.1f}' y1='{top}' x2='{x0:.1f}' y2='{bottom}' stroke='{LINE}'/>"
    )
    for i, bar in enumerate(panel.bars):
        parts += draw_bar(bar, y + HEAD - 6 + STEP * i, x0, scale, end, headline.ratio)
    if headline.ratio:
        one = x0 + scale
        parts.append(
            f"<line x1='{one:.1f}' y1='{top}' x2='{one:.1f}' y2='{bottom}' stroke='{INK}' "
            "stroke-dasharray='3 3'/>"
        )
        parts.append(words(one, bottom + 12, "1.0", 10, FAINT, "middle"))
    return parts


def layout(panels):
    """Two columns, row by row; gives (panel, x, y) and the height of it all."""
    placed, y = [], 92
    for i in range(0, len(panels), 2):
        row = panels[i : i + 2]
        for column, panel in enumerate(row):
            placed.append((panel, MARGIN + column * (PANEL + GAP), y))
        y += max(panel_height(panel) for panel in row) + 14
    return placed, y + 40


def svg(panels, meta):
    placed, height = layout(panels)
    first = panels[0].bars[0].name
    base = "raw epoll" if first == "epoll" else first
    subtitle = f"Server CPU time (or the time of a primitive) as a ratio to {base}, dashed."
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' "
        f"viewBox='0 0 {WIDTH} {height}' role='img' {FONT}>",
        "<title>ferry beside its peers</title>",
        f"<rect width='{WIDTH}' height='{height}' fill='{PAPER}'/>",
        words(MARGIN, 40, "ferry beside its peers", 22, weight="bold"),
        words(MARGIN, 62, subtitle + " Shorter is better.", 13, FAINT),
    ]
    for panel, x, y in placed:
        parts += draw_panel(panel, x, y)
    footer = "; ".join(str(meta[k]) for k in ("cpu", "system", "versions") if k in meta)
    parts.append(words(MARGIN, height - 20, footer, 10, FAINT))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
