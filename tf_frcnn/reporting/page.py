"""Self-contained HTML pages: they load nothing, styles, plots and images are inside."""

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from tf_frcnn.data.faults import counted
from tf_frcnn.files import whole_file
from tf_frcnn.names import shown

_MAX_TEXT = 1000  # letters of one value

_QUOTED = re.compile(r"`([^`]+)`")
_OPTION = re.compile(r"(?<![\w-])(--[a-z][\w.-]*\w)")


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template of this package and write the page, under a temporary name first.

    Args:
        path: the HTML file.
        template: the name of the template's file.
        values: what the template shows; text is made safe by `shown` and escaped, unless it is
            `Markup`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tf_frcnn.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": format_figure,
        "share": format_share,
        "code": mark_code,
        "counted": counted,
    }
    page = environment.get_template(template).render(**values)
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _finalize(value: Any) -> Any:
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return shown(value, _MAX_TEXT) if is_text else value


def format_figure(value: float | int | None) -> str:
    """Write a fraction with three decimals, a count as it is, and a dash for None."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def mark_code(text: str) -> Markup:
    """Set options and what stands between backticks as code; options are not broken at a hyphen."""
    escaped = _QUOTED.sub(r"<code>\1</code>", str(escape(shown(text, _MAX_TEXT))))
    return Markup(_OPTION.sub(r'<code class="option">\1</code>', escaped))


def format_share(value: float | None) -> str:
    """Write a share as a percentage, and a dash for None."""
    return "–" if value is None else f"{100 * value:.1f} %"
