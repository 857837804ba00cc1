# The archive: what figures and report are drawn from, without hostnames and paths, to be drawn elsewhere.


rule archive:
    input:
        script=SCRIPTS / "make_archive.py",
        library=library("archive.py", "redaction.py", "run_record.py", "schemas.py"),
        tables=[f"{RESULTS}/tables/{table}.parquet" for table in TABLES],
        figures=files_of_figures(FIGURES),
        report=f"{RESULTS}/report.html",
        # Their run.json, manifests and cells are found by the table of runs.
        runs=run_files("run.json"),
        artifacts=archived_artifacts(),
        cells=sorted(
            {f"results/cells/{CELLS[system].path_name}.json" for system, *_ in RUNS}
        ),
    output:
        f"{RESULTS}/archive.zip",
    log:
        f"{RESULTS}/logs/archive.log",
    benchmark:
        f"{RESULTS}/benchmarks/archive.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=30,
    params:
        results=lambda wildcards, output: os.path.dirname(output[0]),
        # Written when work starts.
        configuration=CONFIGURATION,
        settings=SETTINGS.model_dump_json(),
    message:
        "Archiving {params.results}: {output}"
    shell:
        "python {input.script} {input.tables} {input.figures} {input.report} {params.configuration}"
        " --results {params.results} --shared results --output {output} > {log} 2>&1"
