"""One self-contained HTML page about evaluations: pictures to compare, figures, curves, experts."""

from armoe_jax.evaluation.report.page import Inside, write_report
from armoe_jax.evaluation.report.runs import Run, load_run

__all__ = ["Inside", "Run", "load_run", "write_report"]
