# Before measuring: whether this machine can. `snakemake doctor --cores 1` builds nothing and runs no index.


rule doctor_environment:
    input:
        script=SCRIPTS / "probe_environment.py",
    output:
        "results/doctor/{environment}.json",
    log:
        "results/logs/doctor_environment/{environment}.log",
    benchmark:
        "results/benchmarks/doctor_environment/{environment}.tsv"
    conda:
        "../envs/{environment}.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=10,
    params:
        # Drivers and limits change without any file of ours: ask every time.
        asked_at=lambda wildcards: time.time(),
    message:
        "Asking the environment {wildcards.environment}"
    shell:
        "python {input.script} --environment {wildcards.environment} --output {output} > {log} 2>&1"


rule doctor:
    input:
        script=SCRIPTS / "doctor.py",
        library=library("doctor.py"),
        probes=probed_environments,
    log:
        # What is not in order; all of it goes to the terminal.
        "results/logs/doctor.log",
    localrule: True
    conda:
        # The driver's own Python: this must not wait for an environment.
        lambda wildcards: None
    threads: 1
    resources:
        machine=1,
        mem_mb=500,
        runtime=5,
    params:
        needs=doctor_needs,
    message:
        "Checking this machine"
    shell:
        "python {input.script} --needs {params.needs:q} --log {log} --probes {input.probes}"
