# Tables, comparisons and the page of torch_versions.


use rule tabulate_runs as tabulate_torch_runs with:
    input:
        script=SCRIPTS / "tabulate_runs.py",
        library=library("schemas.py", "run_record.py", "analysis/run_directories.py"),
        runs=expand("{run}/run.json", run=TORCH_RUNS),
    output:
        f"{RESULTS}/tables/torch_runs.parquet",
    log:
        f"{RESULTS}/logs/tabulate_torch_runs.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_torch_runs.tsv"
    params:
        labels=json.dumps(
            {cell.cell.system: TORCH.label(cell) for cell in TORCH.cells.values()}
        ),
        campaign=f"--campaign {SETTINGS.campaign}" if SETTINGS.campaign else "",
    message:
        "Tabulating the runs of PyTorch versions"


rule tabulate_torch_environments:
    input:
        script=SCRIPTS / "tabulate_torch_environments.py",
        library=library("schemas.py", "run_record.py"),
        facts=[
            f"{RESULTS}/torch_versions/environments/{version}.json"
            for version in TORCH_ENVIRONMENTS
        ],
    output:
        f"{RESULTS}/tables/torch_environments.parquet",
    log:
        f"{RESULTS}/logs/tabulate_torch_environments.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_torch_environments.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    params:
        environments=json.dumps(
            [
                {
                    "version": version,
                    "environment": cell.cell.content["environment"],
                    "lock_digest": cell.cell.content["lock_digest"],
                    "facts": f"{RESULTS}/torch_versions/environments/{version}.json",
                }
                for version, cell in TORCH.plain.items()
            ]
        ),
    message:
        "Tabulating the environments of PyTorch versions"
    shell:
        "python {input.script} --environments {params.environments:q} --output {output} > {log} 2>&1"


rule compare_torch_artifacts:
    input:
        script=SCRIPTS / "compare_torch_artifacts.py",
        library=COMPARISON_FILES,
        manifests=expand("{run}/artifacts", run=TORCH_RUNS),
        # Beside the manifests: what was dumped while the index was made.
        dumps=expand("{run}/dumps", run=TORCH_RUNS),
    output:
        f"{RESULTS}/tables/torch_artifacts.parquet",
    log:
        f"{RESULTS}/logs/compare_torch_artifacts.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare_torch_artifacts.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=4000,
        runtime=240,
    params:
        comparisons=json.dumps(torch_comparisons()),
        tolerance=SETTINGS.torch_versions.tolerance.model_dump_json(),
        bitsandbytes=SETTINGS.torch_versions.bitsandbytes_tolerance.model_dump_json(),
    message:
        "Comparing the artifacts of PyTorch versions"
    shell:
        "python {input.script} --comparisons {params.comparisons:q} --tolerance {params.tolerance:q}"
        " --bitsandbytes-tolerance {params.bitsandbytes:q} --output {output} > {log} 2>&1"


rule tabulate_torch_injections:
    input:
        script=SCRIPTS / "tabulate_torch_injections.py",
        library=library("schemas.py", "run_record.py", "analysis/torch_injections.py"),
        artifacts=rules.compare_torch_artifacts.output,
    output:
        f"{RESULTS}/tables/torch_injections.parquet",
    log:
        f"{RESULTS}/logs/tabulate_torch_injections.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_torch_injections.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Tabulating what each injection makes equal"
    shell:
        "python {input.script} --artifacts {input.artifacts} --output {output} > {log} 2>&1"


rule tabulate_torch_operators:
    input:
        script=SCRIPTS / "tabulate_torch_operators.py",
        library=OPERATOR_FILES + library("schemas.py", "analysis/torch_operators.py"),
        recordings=[recording_of(version) for version in TORCH_ENVIRONMENTS],
        replays=[
            replay[name]
            for replay in torch_replays()
            for name in ("replay", "replay_as_left")
            if replay[name]
        ],
    output:
        operators=f"{RESULTS}/tables/torch_operators.parquet",
        divergence=f"{RESULTS}/tables/torch_divergence.parquet",
        layers=f"{RESULTS}/tables/torch_layers.parquet",
    log:
        f"{RESULTS}/logs/tabulate_torch_operators.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_torch_operators.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=60,
    params:
        pairs=json.dumps(torch_replays()),
    message:
        "Finding the first operator that differs"
    shell:
        "python {input.script} --pairs {params.pairs:q} --operators {output.operators}"
        " --divergence {output.divergence} --layers {output.layers} > {log} 2>&1"


rule compare_searches:
    input:
        script=SCRIPTS / "compare_searches.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/search_comparison.py",
            "corpora/queries.py",
        ),
        qrels=rules.make_queries.output.qrels,
        searches=sorted(
            {pair[side] for pair in torch_searches() for side in ("left", "right")}
        ),
    output:
        search=f"{RESULTS}/tables/torch_search.parquet",
        queries=f"{RESULTS}/tables/torch_search_queries.parquet",
    log:
        f"{RESULTS}/logs/compare_searches.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare_searches.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=30,
    params:
        pairs=json.dumps(torch_searches()),
        settings=SETTINGS.torch_versions.search.model_dump_json(),
    message:
        "Asking whether search notices"
    shell:
        "python {input.script} --pairs {params.pairs:q} --qrels {input.qrels} --search {params.settings:q}"
        " --output-search {output.search} --output-queries {output.queries} > {log} 2>&1"


rule tabulate_torch_published:
    input:
        script=SCRIPTS / "tabulate_torch_published.py",
        library=library("schemas.py", "run_record.py", "analysis/torch_published.py"),
        published=sorted(PUBLISHED.glob("torch_*")),
        tables=[
            f"{RESULTS}/tables/{table}.parquet"
            for table in TORCH_TABLES
            if table != "torch_published"
        ],
    output:
        f"{RESULTS}/tables/torch_published.parquet",
    log:
        f"{RESULTS}/logs/tabulate_torch_published.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_torch_published.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    params:
        published=PUBLISHED,
        tables=lambda wildcards, input: os.path.dirname(input.tables[0]),
    message:
        "Setting what was published of PyTorch versions beside what was measured"
    shell:
        "python {input.script} --published {params.published} --tables {params.tables} --output {output} > {log} 2>&1"


use rule report as report_torch_versions with:
    input:
        script=SCRIPTS / "report.py",
        library=REPORT_CODE,
        tables=[f"{RESULTS}/tables/{table}.parquet" for table in TORCH_TABLES],
        figures=files_of_figures(TORCH_FIGURES),
    output:
        page=report(
            f"{RESULTS}/torch_versions.html",
            caption="captions/report.rst",
            category="Report",
            labels={"figure": "torch_versions: all, with the tables"},
        ),
    log:
        f"{RESULTS}/logs/report_torch_versions.log",
    benchmark:
        f"{RESULTS}/benchmarks/report_torch_versions.tsv"
    params:
        configuration=CONFIGURATION,
        settings=SETTINGS.model_dump_json(),
        tables=lambda wildcards, input: os.path.dirname(input.tables[0]),
        figures=lambda wildcards, input: os.path.dirname(input.figures[0]),
        traces="",
        experiment="torch_versions",
