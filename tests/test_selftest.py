"""The self-test runs both tasks, and says what base and tuned are worth."""

from pathlib import Path

from tailora.selftest import selftest


def test_the_selftest_runs_every_verb_for_both_tasks(tmp_path: Path) -> None:
    said = list(selftest(tmp_path))
    for task, metric in (("generate", "bits per byte"), ("classify", "accuracy")):
        lines = [line for name, line in said if name == task]
        assert lines[0].startswith("tuned is better than base")
        assert any(line.startswith(f"{metric}: base ") and ", tuned " in line for line in lines)
        assert "prepare, train, evaluate and report took" in lines[-1]
        assert (tmp_path / "runs" / f"selftest-{task}" / "report" / "report.html").is_file()
