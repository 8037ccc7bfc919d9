"""Run files → report.html, report.md and figures. A pure reader: no stage knows that reports exist."""

from pathlib import Path

from tailora import files
from tailora.present.report import render, tell
from tailora.run import Run


def report(run: Run) -> Path:
    """Write `<run>/report/` from the files of the finished stages and return the path of `report.html`.

    Raises:
        RunError: when a stage that is reported on has not been done.
    """
    for needed in ("prepare", "train", "evaluate"):
        run.require(needed)
    run.forget("report")
    with run.stage("report") as stage:
        story = tell(run, stage.folder / "figures")
        files.write_text(stage.folder / "report.html", render("report.html.j2", story, escape=True))
        files.write_text(stage.folder / "report.md", render("report.md.j2", story, escape=False))
    return run.folder / "report" / "report.html"
