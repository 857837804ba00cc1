# Published numbers and logs from elsewhere: needs the analysis environment only, no framework and no run.


rule fetch_external_log:
    input:
        # Ancient: the file is known by its hash, so an edit here leaves it as it is.
        script=ancient(SCRIPTS / "fetch_external_log.py"),
    output:
        f"{DOWNLOADS}/{{digest}}/{{name}}",
    log:
        "results/logs/fetch_external_log/{digest}/{name}.log",
    benchmark:
        "results/benchmarks/fetch_external_log/{digest}/{name}.tsv"
    wildcard_constraints:
        digest="[0-9a-f]{16}",
        name="[^/]+",
    # Where snakemake is started: the nodes of a cluster may have no network.
    localrule: True
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=500,
        runtime=30,
    params:
        file=lambda wildcards, output: next(
            file for file in EXTERNAL_FILES if file.path == output[0]
        ),
    message:
        "Downloading {params.file.url}"
    shell:
        "python {input.script} {params.file.url:q} --sha256 {params.file.sha256} --output {output:q} > {log:q} 2>&1"


rule tabulate_external_logs:
    input:
        script=SCRIPTS / "tabulate_external_logs.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "settings/external_logs.py",
            "analysis/external_logs.py",
            "analysis/memory_profiler_log.py",
            "analysis/mprof_log.py",
        ),
        logs=external_logs(),
    output:
        EXTERNAL_LOGS,
    log:
        f"{RESULTS}/logs/tabulate_external_logs.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_external_logs.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=30,
    params:
        files=json.dumps([file.model_dump() for file in EXTERNAL_FILES]),
    message:
        "Looking at the logs from elsewhere: {input.logs}"
    shell:
        "python {input.script} {params.files:q} --output {output} > {log} 2>&1"


rule tabulate_published_memory:
    input:
        script=SCRIPTS / "tabulate_published_memory.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/external_logs.py",
            "analysis/memory_by_function.py",
            "analysis/published.py",
        ),
        published=published_numbers(),
        runs=rules.tabulate_runs.output,
        memory_by_function=rules.tabulate_memory_by_function.output,
        external=EXTERNAL_LOGS,
    output:
        f"{RESULTS}/tables/published_memory.parquet",
    log:
        f"{RESULTS}/logs/tabulate_published_memory.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_published_memory.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    params:
        published=PUBLISHED,
    message:
        "Putting published memory beside ours"
    shell:
        "python {input.script} --published {params.published} --runs {input.runs}"
        " --memory-by-function {input.memory_by_function} --external {input.external} --output {output} > {log} 2>&1"


rule check_published:
    input:
        script=SCRIPTS / "check_published.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/external_logs.py",
            "analysis/memory_by_function.py",
            "analysis/memory_profiler_log.py",
            "analysis/published.py",
            "analysis/published_tables.py",
        ),
        published=published_numbers(),
        external=EXTERNAL_LOGS,
        logs=external_logs(),
    output:
        published_files(),
    log:
        f"{RESULTS}/logs/check_published.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_published.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    params:
        published=PUBLISHED,
        output=lambda wildcards, output: os.path.dirname(output[0]),
    message:
        "Checking the published tables and sentences"
    shell:
        "python {input.script} --published {params.published} --external {input.external}"
        " --output {params.output} > {log} 2>&1"


rule plot_published:
    input:
        script=SCRIPTS / "plot_published.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/external_logs.py",
            "analysis/mprof_log.py",
            "analysis/published.py",
            "figures/common.py",
            "figures/files.py",
            "figures/published_panels.py",
            *(f"figures/{figure}.py" for figure in PUBLISHED_FIGURES),
        ),
        published=PUBLISHED / "memory_study.yaml",
        checked=[
            f"{RESULTS}/published/cells.csv",
            f"{RESULTS}/published/sentence_values.csv",
        ],
        external=EXTERNAL_LOGS,
        external_logs=external_logs(),
    output:
        multiext(f"{RESULTS}/published/{{figure}}", ".svg", ".html", ".csv"),
    log:
        f"{RESULTS}/logs/plot_published/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plot_published/{{figure}}.tsv"
    wildcard_constraints:
        figure="|".join(PUBLISHED_FIGURES),
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=15,
    params:
        published=PUBLISHED,
        checked=lambda wildcards, input: os.path.dirname(input.checked[0]),
        output=lambda wildcards, output: output[0].removesuffix(".svg"),
    message:
        "Drawing {wildcards.figure}"
    shell:
        "python {input.script} {wildcards.figure} --published {params.published} --checked {params.checked}"
        " --external {input.external} --output {params.output} > {log} 2>&1"
