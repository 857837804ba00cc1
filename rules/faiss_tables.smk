# faiss_tables: what precomputed tables cost across segments, and what one shared copy saves.


rule build_faiss_segments:
    input:
        script=SCRIPTS / "build_faiss_segments.py",
        library=library(
            "run_record.py",
            "measure/command_line.py",
            "faiss_tables/formulas.py",
            "faiss_tables/segments.py",
        ),
    output:
        # KIND-METRIC-SEGMENTS-DIGEST
        kept(directory("results/faiss_segments/{segments}"), "indexes"),
    log:
        "results/logs/build_faiss_segments/{segments}.log",
    benchmark:
        "results/benchmarks/build_faiss_segments/{segments}.tsv"
    conda:
        f"../envs/{SETTINGS.faiss_tables.environment}.yaml"
    threads: SETTINGS.faiss_tables.threads
    resources:
        machine=1,
        mem_mb=4000,
        runtime=60,
    params:
        settings=lambda wildcards: json.dumps(FAISS_SEGMENTS[wildcards.segments]),
    message:
        "Building segments: {wildcards.segments}"
    shell:
        "python {input.script} --segments {params.settings:q} --output {output} > {log} 2>&1"


rule measure_faiss_memory:
    input:
        script=SCRIPTS / "measure_faiss_memory.py",
        worker=SCRIPTS / "faiss_worker.py",
        library=FAISS_FILES + library(*python_files("measure")),
        segments=lambda wildcards: FAISS_PARTS[wildcards.grid][wildcards.part],
    output:
        f"{RESULTS}/faiss_tables/{{grid}}/{{part}}.jsonl",
    log:
        f"{RESULTS}/logs/measure_faiss_memory/{{grid}}-{{part}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_faiss_memory/{{grid}}-{{part}}.tsv"
    wildcard_constraints:
        grid="grid|rfc",
        part="[a-z0-9_]+-[a-z0-9_]+",
    conda:
        f"../envs/{SETTINGS.faiss_tables.environment}.yaml"
    threads: SETTINGS.faiss_tables.threads
    resources:
        measured_run=1,
        # All of the machine: what runs beside a measured run disturbs it.
        machine=MACHINE,
        mem_mb=lambda wildcards: getattr(
            SETTINGS.faiss_tables, wildcards.grid
        ).memory_limit_mib
        or 4000,
        runtime=120,
    params:
        settings=lambda wildcards: faiss_settings(wildcards.grid),
    message:
        "Measuring segments in memory: {wildcards.grid}, {wildcards.part}; progress is in {log}"
    shell:
        "python {input.script} --segments {input.segments} --grid {wildcards.grid} --settings {params.settings:q}"
        " --output {output} > {log} 2>&1"


rule measure_faiss_alternatives:
    input:
        script=SCRIPTS / "measure_faiss_alternatives.py",
        worker=SCRIPTS / "faiss_worker.py",
        library=FAISS_FILES + library(*python_files("measure")),
        segments=list(FAISS_PARTS["grid"].values()),
    output:
        f"{RESULTS}/faiss_tables/alternatives.jsonl",
    log:
        f"{RESULTS}/logs/measure_faiss_alternatives.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_faiss_alternatives.tsv"
    conda:
        f"../envs/{SETTINGS.faiss_tables.environment}.yaml"
    threads: SETTINGS.faiss_tables.threads
    resources:
        measured_run=1,
        machine=MACHINE,
        mem_mb=4000,
        runtime=60,
    params:
        settings=faiss_settings("grid"),
    message:
        "Measuring the alternatives to a table for each segment"
    shell:
        "python {input.script} --segments {input.segments} --settings {params.settings:q} --output {output}"
        " > {log} 2>&1"


rule measure_faiss_latency:
    input:
        script=SCRIPTS / "measure_faiss_latency.py",
        library=FAISS_FILES + library(*python_files("measure")),
    output:
        f"{RESULTS}/faiss_tables/latency.jsonl",
    log:
        f"{RESULTS}/logs/measure_faiss_latency.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_faiss_latency.tsv"
    conda:
        f"../envs/{SETTINGS.faiss_tables.environment}.yaml"
    threads: SETTINGS.faiss_tables.threads
    resources:
        measured_run=1,
        machine=MACHINE,
        mem_mb=4000,
        runtime=120,
    params:
        settings=json.dumps(
            {
                **SETTINGS.faiss_tables.latency.model_dump(),
                "threads": SETTINGS.faiss_tables.threads,
            }
        ),
    message:
        "Measuring searches with and without the table; progress is in {log}"
    shell:
        "python {input.script} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule tabulate_faiss_memory:
    input:
        script=SCRIPTS / "tabulate_faiss_memory.py",
        library=FAISS_ANALYSIS,
        records=lambda wildcards: [
            f"{RESULTS}/faiss_tables/{FAISS_GRIDS[wildcards.table]}/{part}.jsonl"
            for part in FAISS_PARTS[FAISS_GRIDS[wildcards.table]]
        ],
    output:
        memory=f"{RESULTS}/tables/{{table}}_memory.parquet",
        estimates=f"{RESULTS}/tables/{{table}}_estimates.parquet",
    log:
        f"{RESULTS}/logs/tabulate_faiss_memory/{{table}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_faiss_memory/{{table}}.tsv"
    wildcard_constraints:
        table="|".join(FAISS_GRIDS),
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Tabulating segments in memory: {wildcards.table}"
    shell:
        "python {input.script} {input.records} --memory {output.memory} --estimates {output.estimates}"
        " > {log} 2>&1"


rule tabulate_faiss_latency:
    input:
        script=SCRIPTS / "tabulate_faiss_latency.py",
        library=FAISS_ANALYSIS,
        records=rules.measure_faiss_latency.output,
    output:
        latency=f"{RESULTS}/tables/faiss_latency.parquet",
        break_even=f"{RESULTS}/tables/faiss_break_even.parquet",
    log:
        f"{RESULTS}/logs/tabulate_faiss_latency.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_faiss_latency.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Tabulating searches with and without the table"
    shell:
        "python {input.script} {input.records} --latency {output.latency} --break-even {output.break_even}"
        " > {log} 2>&1"


rule tabulate_faiss_alternatives:
    input:
        script=SCRIPTS / "tabulate_faiss_alternatives.py",
        library=FAISS_ANALYSIS,
        records=rules.measure_faiss_alternatives.output,
    output:
        f"{RESULTS}/tables/faiss_alternatives.parquet",
    log:
        f"{RESULTS}/logs/tabulate_faiss_alternatives.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_faiss_alternatives.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Tabulating the alternatives to a table for each segment"
    shell:
        "python {input.script} {input.records} --output {output} > {log} 2>&1"


rule tabulate_faiss_published:
    input:
        script=SCRIPTS / "tabulate_faiss_published.py",
        library=FAISS_ANALYSIS,
        published=PUBLISHED / "faiss_tables.csv",
        memory=f"{RESULTS}/tables/faiss_memory.parquet",
    output:
        f"{RESULTS}/tables/faiss_published.parquet",
    log:
        f"{RESULTS}/logs/tabulate_faiss_published.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_faiss_published.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    params:
        # What faiss_tables_rfc has measured, where it has been run; it is no reason to run it.
        rfc=faiss_rfc_table(),
        rfc_digest=faiss_rfc_digest(),
    message:
        "Setting what was published of table memory beside the formulas"
    shell:
        "python {input.script} --published {input.published} --memory {input.memory} {params.rfc} --output {output}"
        " > {log} 2>&1"


use rule report as report_faiss_tables with:
    input:
        script=SCRIPTS / "report.py",
        library=REPORT_CODE,
        tables=[f"{RESULTS}/tables/{table}.parquet" for table in FAISS_TABLES],
        figures=files_of_figures(FAISS_FIGURES),
    output:
        page=report(
            f"{RESULTS}/faiss_tables.html",
            caption="captions/report.rst",
            category="Report",
            labels={"figure": "faiss_tables: all, with the tables"},
        ),
    log:
        f"{RESULTS}/logs/report_faiss_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/report_faiss_tables.tsv"
    params:
        configuration=CONFIGURATION,
        settings=SETTINGS.model_dump_json(),
        tables=lambda wildcards, input: os.path.dirname(input.tables[0]),
        figures=lambda wildcards, input: os.path.dirname(input.figures[0]),
        traces="",
        experiment="faiss_tables",
