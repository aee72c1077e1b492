"""A report that opens in any browser: one self-contained HTML file with pictures of every finding."""

from pathlib import Path

import jinja2

from p2ch14.report_pictures import cuts, projections
from util.files import atomic_path

MOST_PICTURES = 20

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def scan_section(ct, result, threshold, truth=""):
    """What the report says of one scan: a dict for the template. Pictures are drawn now, so `ct` can go."""
    nodules = result.listed(threshold)
    return {
        "path": result.path,
        "series_uid": result.series_uid,
        "seconds": result.seconds,
        "candidates": len(result.findings),
        "nodules_count": len(nodules),
        "threshold": threshold,
        "truth": truth,
        "warnings": result.warnings,
        "rows": nodules,
        "projections": projections(ct, nodules, result.lungs),
        "pictures": [cuts(ct, finding) for finding in nodules[:MOST_PICTURES]],
    }


def write_report(path, sections):
    """Write the HTML file; sections: what `scan_section` answers, one per scan."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            TEMPLATES.get_template("report.html").render(sections=sections), encoding="utf-8"
        )
