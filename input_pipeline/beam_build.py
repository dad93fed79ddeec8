"""The builder as an Apache Beam pipeline: one element an image, on as many workers as there are.

Sources and trees lie on a file system that all workers share. Workers write files and records as
`build.build` does, so a pipeline that was stopped is continued by the next run, or by `build`.
"""

# Apache Beam is an optional dependency without usable types.
# pyright: reportMissingImports=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportOperatorIssue=false

from collections.abc import Sequence
from pathlib import Path

from armoe_jax.runtime.files import write_atomically
from input_pipeline import manifest
from input_pipeline.build import Job, Summary, build_item, locked_trees, plan
from input_pipeline.image_files import check_unique_stems
from input_pipeline.manifest import Tree

_FAILED = ".failed"


def build_with_beam(
    sources: Sequence[Path], trees: Sequence[Tree], *, pipeline_options: Sequence[str] = ()
) -> Summary:
    """Codes every source image into every tree on a Beam runner and writes the manifests.

    Args:
        sources: Image files with different stems.
        trees: Where to and how.
        pipeline_options: Beam's own, such as "--runner=DirectRunner".

    Returns:
        The summary, as of `build.build`.

    Raises:
        ModuleNotFoundError: If apache-beam is not installed.
        ValueError: As `build.build`.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "apache-beam is not installed; run: pip install 'armoe-jax[beam]'"
        ) from error
    check_unique_stems(sources)
    with locked_trees(trees):
        jobs, finished, summary = plan(sources, trees)
        with beam.Pipeline(options=PipelineOptions(list(pipeline_options))) as pipeline:
            _ = (
                pipeline
                | "List" >> beam.Create(jobs)
                | "Spread" >> beam.Reshuffle()
                | "Code" >> beam.Map(code_one)
            )
        return _finish(jobs, trees, finished, summary)


def code_one(job: Job) -> str:
    """Codes one image; its records and its failure are files beside the tree."""
    outcome = build_item(job)
    if outcome.failures:
        write_atomically(_failure_file(job), "\n".join(outcome.failures))
    return job.source.stem


def _failure_file(job: Job) -> Path:
    return job.trees[0].records / f"{job.source.stem}{_FAILED}"


def _finish(
    jobs: Sequence[Job],
    trees: Sequence[Tree],
    finished: dict[Path, dict[str, manifest.Record]],
    summary: Summary,
) -> Summary:
    """Collects what the workers have written and writes the manifests."""
    for job in jobs:
        if _failure_file(job).is_file():
            summary.failures += _failure_file(job).read_text().splitlines()
    summary.failures.sort()
    for tree in trees:
        old = len(finished[tree.folder])
        records = {**finished[tree.folder], **manifest.read_records(tree)}
        summary.built += len(records) - old
        manifest.finish(tree, list(records.values()))
    return summary
