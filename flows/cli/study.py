"""The commands `keyhole study list`, `run`, `show` and `page`."""

from typing import Any

import click

from flows.cli.options import setting_options, store_option
from flows.cli.settings import validated
from flows.config import RunOptions
from flows.errors import UserError
from flows.study_config import StudyConfig

EVERY = "all"
ARGUMENTS = ("study",)  # settings that are given as an argument


@click.group()
def study() -> None:
    """Small supervised experiments, each with a claim that its own numbers decide."""


@study.command("list")
@store_option
def list_known() -> None:
    """List the studies: name, question, and the verdict of the newest run in the store."""
    from flows.cli.study_commands import list_studies

    list_studies()


@study.command("run")
@click.argument("which", metavar="NAME|all", required=False)
@setting_options(StudyConfig, hidden=ARGUMENTS)
@click.option(
    "--resume",
    metavar="[STUDY]",
    is_flag=False,
    flag_value="",
    help="continue a study with its own settings (id, prefix, name; default: the newest unfinished)",
)
@click.option(
    "--force", is_flag=True, help="make every run, including those finished before with equal settings and code"
)
@click.option("--next-seeds", is_flag=True, help="add --seeds further seeds to the earlier study with these settings")
@click.option("--dry-run", is_flag=True, help="check the study and print its runs; run nothing")
@store_option
def run_command(
    which: str | None, resume: str | None, force: bool, next_seeds: bool, dry_run: bool, **values: Any
) -> None:
    """Run the study NAME, or my_module:my_study from this folder, or all, and decide its claims.

    One MLflow run holds the study, and nested ones an arm and seed each. A run that finished before with equal
    settings, code and libraries is reused. A claim that fails is a result: the exit code is 0 unless a run failed.
    """
    from flows.cli.study_commands import resume_study, run_all, run_study

    if resume is not None:
        extra = [option for option, value in values.items() if value is not None and option != "workers"]
        if which is not None or extra or force or next_seeds:
            raise UserError("--resume uses the study's own settings; leave out NAME and every option but --workers")
        resume_study(resume, values["workers"])
        return
    if which is None:
        raise UserError("name a study, or all; `keyhole study list` lists them")
    given = {option: value for option, value in values.items() if value is not None}
    if next_seeds and (force or which == EVERY):
        raise UserError("--next-seeds adds seeds to one study; leave out --force and all")
    options = RunOptions(force=force, reuse=not force, next_seeds=next_seeds)
    if which == EVERY:
        run_all(given, options, dry_run)
    else:
        run_study(validated(StudyConfig, {**given, "study": which}), options, dry_run)


@study.command("show")
@click.argument("name", metavar="[NAME|RUN]", required=False)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@store_option
def show_study_command(name: str | None, as_json: bool) -> None:
    """Print the claims and read-outs of a study: the newest run of NAME, or a run by its id or name."""
    from flows.cli.study_commands import show_study

    show_study(name, as_json)


@study.command("page")
@click.option("--out", default=".", metavar="DIR", help="folder of studies.md and studies/  [default: this one]")
@store_option
def page(out: str) -> None:
    """Write studies.md: a table of the newest run of every study in the store, and their pictures."""
    from flows.cli.study_commands import write_page

    write_page(out)
