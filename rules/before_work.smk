# What is known and said before work starts: progress, estimates, and what the doctor looks at.

import time

from snakemake.logging import logger

from indexscope import doctor, estimate


def runs_to_make():
    """Directories of the runs that this start makes; None in a cluster's job, which knows of itself only."""
    if workflow.remote_exec or workflow.dag is None:
        return None
    return [
        os.path.dirname(job.output.run)
        for job in workflow.dag.needrun_jobs(exclude_finished=False)
        if job.rule.name == "index_collection"
    ]


# In the message of index_collection: which run this is, how many are left, about how long they take.
PROGRESS = estimate.Progress(SETTINGS, CELLS, RUNS, Path(RESULTS), runs_to_make)


def has_slice(documents):
    return os.path.exists(f"results/slices/{CORPUS}/{documents}.parquet")


def environments_to_make():
    """The locks of the environments that this start builds by a rule of its own."""
    if workflow.remote_exec or workflow.dag is None:
        return []
    return [
        Path(job.params.specification)
        for job in workflow.dag.needrun_jobs(exclude_finished=False)
        if job.rule.name == "make_environment"
    ]


def announce_work():
    """Say what is about to be measured and what memory cannot hold; refuse what the disk cannot hold."""
    try:
        for line in estimate.environments_announcement(
            environments_to_make(), estimate.free_mib(Path("."))
        ):
            logger.info(line)
        for line in estimate.announcement(
            PROGRESS.expected(have=has_slice),
            Path(RESULTS),
            estimate.free_mib(Path(RESULTS)),
            estimate.Available(
                machine=doctor.machine_memory_mib(),
                limit=SETTINGS.measurement.memory_limit_mib,
                gpu=doctor.gpu_memory_mib() if DEVICE == "cuda" else None,
            ),
        ):
            logger.info(line)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def conda_folder():
    return Path(workflow.deployment_settings.conda_prefix or ".snakemake/conda")


def is_built(environment):
    """Whether an environment is there as its lock describes it."""
    lock = ENVIRONMENTS / f"{environment}.yaml"
    return environments.built(lock, conda_folder()) is not None


def measured_environments():
    return sorted({cell.content["environment"] for cell in CELLS.values()})


def probed_environments(wildcards):
    """What the doctor asks: those environments that are built; it must not wait for one to be."""
    return [
        f"results/doctor/{environment}.json"
        for environment in measured_environments()
        if is_built(environment)
    ]


def doctor_needs(wildcards):
    """What the configuration asks of the machine, for indexscope.doctor.Needs."""
    to_do = [
        run for run, path in RUNS.items() if not os.path.exists(f"{path}/run.json")
    ]
    missing = [
        environment
        for environment in ["analysis", "corpora", *measured_environments()]
        if not is_built(environment)
    ]
    experiment = SETTINGS.index_memory
    sources = {
        getattr(SETTINGS.corpora[experiment.corpus], "source", None),
        getattr(SETTINGS.checkpoints[experiment.checkpoint], "source", None),
    }
    stand_in = not doctor.has_real_conda(doctor.Machine())
    return json.dumps(
        {
            "device": SETTINGS.measurement.device,
            "threads": SETTINGS.measurement.threads,
            "allocator": SETTINGS.measurement.allocator,
            "hub": "hub" in sources,
            "deployed": bool(workflow.deployment_settings.deployment_method),
            "results": RESULTS,
            "environments_folder": str(conda_folder()),
            "environments_mib": estimate.environments_mib(
                [ENVIRONMENTS / f"{name}.yaml" for name in missing], hard_links=stand_in
            ),
            "missing_environments": missing,
            **estimate.needs(PROGRESS.expected(to_do, have=has_slice)),
        }
    )


def refuse_fewer_threads():
    """Snakemake silently gives a job no more threads than --cores: what is measured then is not what is configured."""
    if workflow.remote_exec or workflow.dag is None:
        return
    for job in workflow.dag.needrun_jobs(exclude_finished=False):
        wanted = job.rule.resources["_cores"].value
        if isinstance(wanted, int) and job.threads < wanted:
            raise WorkflowError(
                f"{job.rule.name} takes {wanted} threads, as configured, but this start gives it {job.threads}; "
                f"start with --cores {wanted} or more, or configure fewer threads"
            )


onstart:
    # Handed on to the jobs, which are not told: at the last attempt, too little memory is a result (measure/place.py).
    os.environ.update(
        INDEXSCOPE_ATTEMPTS=str(1 + workflow.execution_settings.retries)
    )
    if not ARCHIVE:  # which has that of its runs
        configuration.write_resolved(SETTINGS, Path(CONFIGURATION))
    refuse_fewer_threads()
    announce_work()
