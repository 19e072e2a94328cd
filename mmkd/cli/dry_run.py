"""`--dry-run`: show the units of a request, which of their results exist, and how long the others will take."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mmkd.engines.estimate import estimate
from mmkd.engines.execution import say_what_was_understood
from mmkd.engines.plan import Job, make_plan
from mmkd.engines.selection import phase_of
from mmkd.engines.tuning import Tuning, expand_with_tuning, plan_tuning
from mmkd.training.workspace import Workspace
from mmkd.units.names import title
from mmkd.units.rare_classes import notes_of_rare_classes
from mmkd.units.request import Request
from mmkd.units.understood import refuse_warnings, understand


def dry_run(request: Request, workspace: Workspace, rerun: bool, as_json: bool) -> dict[str, Any]:
    """Print the plan of a request, unless it is wanted as a document of JSON; returns that document.

    Args:
        rerun: whether units on record are to be run again.
        as_json: whether the document is wanted; without it lines are printed, and the document is empty.
    """
    records = workspace.records
    units, bases = expand_with_tuning(request)
    understood = understand(units, request.data)
    if request.strict:
        refuse_warnings(understood)
    say_what_was_understood(understood, (lambda line: None) if as_json else print)
    phase = phase_of(request, units)
    selected = {spec.key: records.get(spec.key) is not None for spec, _ in phase.alone}
    tuning = plan_tuning(request, units, bases)
    tuned = tuning.later(units, records)
    tried = {spec.key: records.get(spec.key) is not None for spec, _ in tuning.units}
    everything = [*phase.alone, *tuning.units, *units, *tuned]
    plan = make_plan(everything, records, workspace.cache, rerun, phase.taught)
    jobs = {kind: [job for job in plan if job.kind == kind] for kind in ("view", "teacher")}
    time = estimate(plan, records, workspace.jobs, workspace.threads, workspace.device)
    requested = {spec.key: records.get(spec.key) is not None for spec, _ in units}
    notes = notes_of_rare_classes((spec, data) for spec, data in units if rerun or not requested[spec.key])
    known = {spec.key for spec, _ in everything}
    started_from = [job for job in plan if job.kind == "unit" and not job.exists and job.key not in known]
    if as_json:
        return {
            "data": [data.as_json() for data in understood],
            **({"notes": notes} if notes else {}),
            "units": [
                {
                    "key": spec.key,
                    "method": spec.method,
                    "dataset": spec.data.name,
                    "seed": spec.seed,
                    "on_record": requested[spec.key],
                }
                for spec, _ in units
            ],
            "started_from": [
                {"key": job.key, "dataset": job.spec.data.name, "seed": job.spec.seed} for job in started_from
            ],
            **({"selection": [{"key": key, "on_record": done} for key, done in selected.items()]} if selected else {}),
            **({"tuning": {"tried": _tried(tuning, tried), "tuned_units": len(tuned)}} if tried else {}),
            "estimate": {"jobs": workspace.jobs, **asdict(time)},
            "views": [_job(job) for job in jobs["view"]],
            "teachers": [
                _job(job) | {"net": job.spec.teachers[job.modality], "seed": job.spec.seed} for job in jobs["teacher"]
            ],
        }
    for line in notes:
        print(line)
    for job in (*jobs["view"], *jobs["teacher"]):
        print(f"{job.key}  {job.title}{'  cached' if job.exists else ''}")
    for job in started_from:
        reason = "--init-student trained" if job.spec.training_seed is None else "a method that trains it alone first"
        print(f"{job.key}  {job.title}  for {reason}")
    for spec, _ in units:
        print(f"{spec.key}  {title(spec)}{'  on record' if requested[spec.key] else ''}")
    print(f"{len(units)} unit{'s' * (len(units) != 1)}, {sum(requested.values())} on record")
    if selected:
        count = f"{len(selected)} student{'s' * (len(selected) != 1)} alone"
        print(f"selection in {request.select} folds: {count}, {sum(selected.values())} on record, and their teachers")
        for line in phase.left_out:
            print(line)
    if tried:
        count = f"{len(tried)} student{'s' * (len(tried) != 1)} in a fold of the training part"
        counts = {tries.method: len(tries.units) for tries in tuning.tries}
        each = f"{len(counts)} method{'s' * (len(counts) != 1)}, {max(counts.values())} configurations each"
        fewer = [f"{name} {count}" for name, count in counts.items() if count < max(counts.values())]
        methods = f"{each}{', but ' * bool(fewer)}{', '.join(fewer)}"
        print(f"tuning: {count}, {sum(tried.values())} on record ({methods})")
        print(f"then {len(tuned)} tuned unit{'s' * (len(tuned) != 1)}, with what is found to be best")
    for kind, kind_jobs in jobs.items():
        cached = sum(job.exists for job in kind_jobs)
        print(f"{kind}s: {cached} cached, {len(kind_jobs) - cached} to be made, each once")
    print(time.text("one after the other" if workspace.jobs == 1 else f"with --jobs {workspace.jobs}"))
    return {}


def _tried(tuning: Tuning, tried: Mapping[str, bool]) -> list[dict[str, Any]]:
    """Each unit of the tuning phase, and whether it is on record."""
    return [
        {"key": s.key, "method": s.method, "dataset": s.data.name, **s.tuning, "on_record": tried[s.key]}
        for s, _ in tuning.units
    ]


def _job(job: Job) -> dict[str, Any]:
    return {"key": job.key, "modality": job.modality, "dataset": job.spec.data.name, "cached": job.exists}
