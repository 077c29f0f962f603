"""One self-contained HTML page with all that was found: check_data.html."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from tf_frcnn.doctor.check import DataCheck
from tf_frcnn.doctor.counts import shown_counts
from tf_frcnn.doctor.plots import (
    aspect_ratios_svg,
    boxes_a_picture_svg,
    classes_svg,
    coverage_svg,
    sizes_svg,
)
from tf_frcnn.doctor.remarks import list_remarks
from tf_frcnn.files import whole_file


def write_page(path: Path, check: DataCheck) -> None:
    """Write the page, under a temporary name first.

    It loads nothing from anywhere: styles and plots are inside of it.

    Args:
        path: the HTML file.
        check: what was found.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tf_frcnn.doctor"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["share"] = format_share
    page = environment.get_template("check_data.html").render(
        title=Path(check.report["data"]["root"]).resolve().name,
        report=check.report,
        remarks=list_remarks(check.report),
        columns=shown_counts(check.report["splits"]),
        classes_plot=Markup(classes_svg(check.datasets)),
        plots={
            "Boxes a picture": Markup(boxes_a_picture_svg(check.datasets)),
            "Box sizes": Markup(sizes_svg(check.datasets)),
            "Aspect ratios": Markup(aspect_ratios_svg(check.datasets)),
        },
        coverage_plot=Markup(coverage_svg(check.best_ious)),
    )
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def format_share(value: float | None) -> str:
    """Write a share as a percentage, a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f} %"
