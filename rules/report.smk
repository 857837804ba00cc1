# The report: one page, offline, made of tables and figures.


rule report:
    input:
        script=SCRIPTS / "report.py",
        library=REPORT_CODE,
        tables=[f"{RESULTS}/tables/{table}.parquet" for table in TABLES],
        figures=files_of_figures(FIGURES),
        # Linked, where there are any.
        traces=trace_files(),
        speedscope=trace_files("speedscope.json"),
    output:
        page=report(
            f"{RESULTS}/report.html",
            caption="captions/report.rst",
            category="Report",
            labels={"figure": "all, with the tables"},
        ),
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=15,
    params:
        # Written when work starts; named here too, so that a changed configuration makes a new report.
        configuration=CONFIGURATION,
        settings=SETTINGS.model_dump_json(),
        tables=lambda wildcards, input: os.path.dirname(input.tables[0]),
        figures=lambda wildcards, input: os.path.dirname(input.figures[0]),
        traces=lambda wildcards, input: (
            f"--traces {input.traces}" if input.traces else ""
        ),
        experiment="index_memory",
    message:
        "Writing the report: {output.page}"
    shell:
        "python {input.script} --experiment {params.experiment} --tables {params.tables} --figures {params.figures}"
        " --configuration {params.configuration} {params.traces} --output {output.page} > {log} 2>&1"
