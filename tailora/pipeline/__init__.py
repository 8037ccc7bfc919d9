"""The story: one file per verb, each of which takes a run."""

from tailora.pipeline.evaluate import evaluate
from tailora.pipeline.plan import plan
from tailora.pipeline.prepare import prepare
from tailora.pipeline.report import report
from tailora.pipeline.train import train

__all__ = ["evaluate", "plan", "prepare", "report", "train"]
