# remote_indexing: from PDFs to a searchable index, wherever there is a machine, and what it costs.


# Before anything is built: what it will need and cost, from the documents' sizes alone.
rule estimate_cost:
    input:
        script=SCRIPTS / "estimate_cost.py",
        library=library(
            "memory_model.py",
            "memory_plan.py",
            "cost.py",
            "analysis/remote_estimate.py",
        ),
        cells=ancient(
            [f"results/cells/{cell.path_name}.json" for cell in REMOTE_CELLS.values()]
        ),
        documents=ancient(REMOTE_SLICE),
        tables=list(REMOTE_PRICES.values()),
    output:
        REMOTE_ESTIMATE,
    log:
        f"{RESULTS}/logs/estimate_cost.log",
    benchmark:
        f"{RESULTS}/benchmarks/estimate_cost.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=500,
        runtime=15,
    params:
        checkpoint=CHECKPOINTS[REMOTE_CHECKPOINT].model_dump_json(),
        rent=json.dumps({**REMOTE.rent.model_dump(), **REMOTE_PRICES}),
        labels=REMOTE_LABELS,
    message:
        "Estimating what indexing {REMOTE_CORPUS} needs and costs"
    shell:
        "python {input.script} --cells {input.cells} --documents {input.documents} --labels {params.labels:q}"
        " --checkpoint {params.checkpoint:q} --rent {params.rent:q} --output {output} > {log} 2>&1"


use rule index_collection as index_remotely with:
    input:
        script=SCRIPTS / "index_collection.py",
        worker=SCRIPTS / "index_worker.py",
        library=measuring_files,
        cell=ancient("results/cells/{system}.json"),
        collection=lambda wildcards: ancient(remote_collection(wildcards)),
        documents=ancient(REMOTE_SLICE),
        checkpoint=ancient(f"results/checkpoints/{REMOTE_CHECKPOINT}"),
        extensions=lambda wildcards: ancient(remote_extensions(wildcards)),
        # Said before it is known.
        estimate=ancient(REMOTE_ESTIMATE),
    output:
        run=f"{REMOTE_RUN}/run.json",
        spans=f"{REMOTE_RUN}/spans.jsonl",
        curve=f"{REMOTE_RUN}/memory_curve.csv",
        memory_profiler=f"{REMOTE_RUN}/memory_profiler.log",
        ledger=f"{REMOTE_RUN}/ledger.jsonl",
        printed=f"{REMOTE_RUN}/stdout.log",
        # The product: kept, whatever the configuration says of runs.
        index=directory(f"{REMOTE_RUN}/index"),
    log:
        f"{RESULTS}/logs/index_remotely/{{system}}/{{documents}}/{{repeat}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_remotely/{{system}}/{{documents}}/{{repeat}}.tsv"
    wildcard_constraints:
        system=REMOTE_SYSTEM,
    resources:
        gpu=gpus,
        measured_run=1,
        machine=machine_of,
        mem_mb=lambda wildcards, input, attempt: attempt
        * remote_memory(wildcards, input),
        gpu_mem_mb=lambda wildcards, input: remote_memory(wildcards, input, "gpu"),
        runtime=lambda wildcards: 10 + SETTINGS.measurement.timeout_seconds // 60,
        # Which attempt of the job this is, and a folder of a fast local disk to build in (none): docs/cluster.md.
        attempt=lambda wildcards, attempt: attempt,
        scratch="",
    params:
        directory=lambda wildcards, output: os.path.dirname(output.run),
        extensions=lambda wildcards, input: (
            f"--extensions {os.path.dirname(input.extensions)}"
            if input.extensions
            else ""
        ),
        inside="",
        profiler="spans",
        given="",
    message:
        "Indexing {wildcards.documents} documents of {REMOTE_CORPUS}: {wildcards.system}, repeat {wildcards.repeat}"


# What a second process, or another machine, checks the index against before it searches it.
rule seal_index:
    input:
        script=SCRIPTS / "seal_index.py",
        library=library(
            "run_record.py",
            "sealing.py",
            "searching/index_folder.py",
            "searching/passages.py",
        ),
        run=f"{REMOTE_RUN}/run.json",
        index=f"{REMOTE_RUN}/index",
        # Its passages, and the pages that they are from, go beside an index that lacks them: it is whole anywhere.
        collection=lambda wildcards: ancient(remote_collection(wildcards)),
        pages=ancient(pdf_pages()),
    output:
        f"{REMOTE_RUN}/index.sha256.json",
    log:
        f"{RESULTS}/logs/seal_index/{{system}}/{{documents}}/{{repeat}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/seal_index/{{system}}/{{documents}}/{{repeat}}.tsv"
    wildcard_constraints:
        system=REMOTE_SYSTEM,
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=500,
        runtime=60,
    params:
        pages=lambda wildcards, input: f"--pages {input.pages}" if input.pages else "",
    message:
        "Sealing the index of {wildcards.system}, repeat {wildcards.repeat}"
    shell:
        "python {input.script} write {input.index} --collection {input.collection} {params.pages}"
        " --output {output} > {log} 2>&1"


use rule make_queries as make_remote_queries with:
    input:
        script=SCRIPTS / "make_queries.py",
        library=library("run_record.py", "corpora/queries.py"),
        collection=ancient(REMOTE_SLICE),
        dataset=[],
    output:
        queries=f"{REMOTE_QUERIES}/queries.jsonl",
        qrels=f"{REMOTE_QUERIES}/qrels.jsonl",
        manifest=f"{REMOTE_QUERIES}/manifest.json",
    log:
        "results/logs/make_remote_queries.log",
    benchmark:
        "results/benchmarks/make_remote_queries.tsv"
    params:
        queries=REMOTE.search.queries.model_dump_json(),
        directory=lambda wildcards, output: os.path.dirname(output.queries),
        dataset="",
    message:
        "Making queries of {REMOTE_CORPUS}"


# The index of a system's first run: how it is searched, what is found, and whether the plain libraries load it.
rule measure_search:
    input:
        script=SCRIPTS / "measure_search.py",
        worker=SCRIPTS / "search_worker.py",
        library=library(
            "run_record.py",
            "sealing.py",
            *python_files("searching"),
            *python_files("measure"),
        ),
        run=f"{REMOTE_RUN}/run.json",
        index=f"{REMOTE_RUN}/index",
        seal=f"{REMOTE_RUN}/index.sha256.json",
        collection=lambda wildcards: ancient(remote_collection(wildcards)),
        checkpoint=ancient(f"results/checkpoints/{REMOTE_CHECKPOINT}"),
        extensions=lambda wildcards: ancient(
            remote_extensions(wildcards, "plaid_search")
        ),
        queries=rules.make_remote_queries.output.queries,
        qrels=rules.make_remote_queries.output.qrels,
    output:
        f"{REMOTE_RUN}/searches.jsonl",
    log:
        f"{RESULTS}/logs/measure_search/{{system}}/{{documents}}/{{repeat}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_search/{{system}}/{{documents}}/{{repeat}}.tsv"
    wildcard_constraints:
        system=REMOTE_SYSTEM,
    conda:
        lambda wildcards: f"../envs/{cell_of(wildcards).content['environment']}.yaml"
    threads: SETTINGS.measurement.threads
    resources:
        gpu=gpus,
        measured_run=1,
        machine=MACHINE,
        mem_mb=4000,
        runtime=120,
    params:
        run=lambda wildcards, input: os.path.dirname(input.run),
        extensions=lambda wildcards, input: (
            f"--extensions {os.path.dirname(input.extensions)}"
            if input.extensions
            else ""
        ),
        search=REMOTE.search.model_dump_json(exclude={"queries"}),
        device=DEVICE,
        measurement=json.dumps(
            SETTINGS.measurement.model_dump(
                include={
                    "sample_interval_seconds",
                    "timeout_seconds",
                    "memory_limit_mib",
                }
            )
        ),
    message:
        "Searching the index of {wildcards.system}"
    shell:
        "python {input.script} {params.run} --collection {input.collection} --checkpoint {input.checkpoint}"
        " {params.extensions} --queries {input.queries} --qrels {input.qrels} --search {params.search:q}"
        " --measurement {params.measurement:q} --threads {threads} --device {params.device} --output {output}"
        " > {log} 2>&1"


rule tabulate_remote_pages:
    input:
        script=SCRIPTS / "tabulate_remote_pages.py",
        library=REMOTE_ANALYSIS,
        pages=pdf_pages(),
    output:
        f"{RESULTS}/tables/remote_pages.parquet",
    log:
        f"{RESULTS}/logs/tabulate_remote_pages.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_remote_pages.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Tabulating what became of the pages"
    shell:
        "python {input.script} {input.pages} --output {output} > {log} 2>&1"


use rule tabulate_runs as tabulate_remote_runs with:
    input:
        script=SCRIPTS / "tabulate_runs.py",
        library=library("schemas.py", "run_record.py", "analysis/run_directories.py"),
        runs=[f"{run}/run.json" for run in REMOTE_RUNS.values()],
    output:
        f"{RESULTS}/tables/remote_runs.parquet",
    log:
        f"{RESULTS}/logs/tabulate_remote_runs.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_remote_runs.tsv"
    message:
        "Tabulating the runs of remote_indexing"


rule tabulate_remote_costs:
    input:
        script=SCRIPTS / "tabulate_remote_costs.py",
        library=REMOTE_ANALYSIS,
        estimate=REMOTE_ESTIMATE,
        runs=[f"{run}/run.json" for run in REMOTE_RUNS.values()],
        spans=[f"{run}/spans.jsonl" for run in REMOTE_RUNS.values()],
        curves=[f"{run}/memory_curve.csv" for run in REMOTE_RUNS.values()],
        tables=list(REMOTE_PRICES.values()),
    output:
        phases=f"{RESULTS}/tables/remote_phases.parquet",
        gpus=f"{RESULTS}/tables/remote_gpus.parquet",
        costs=f"{RESULTS}/tables/remote_costs.parquet",
    log:
        f"{RESULTS}/logs/tabulate_remote_costs.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_remote_costs.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    params:
        checkpoint=CHECKPOINTS[REMOTE_CHECKPOINT].model_dump_json(),
        rent=json.dumps({**REMOTE.rent.model_dump(), **REMOTE_PRICES}),
        labels=REMOTE_LABELS,
    message:
        "Setting what it cost beside what was estimated"
    shell:
        "python {input.script} {input.runs} --estimate {input.estimate} --labels {params.labels:q}"
        " --checkpoint {params.checkpoint:q} --rent {params.rent:q} --phases {output.phases} --gpus {output.gpus}"
        " --costs {output.costs} > {log} 2>&1"


rule tabulate_remote_searches:
    input:
        script=SCRIPTS / "tabulate_remote_searches.py",
        library=REMOTE_ANALYSIS,
        searches=[
            f"{run}/searches.jsonl"
            for (_, repeat), run in REMOTE_RUNS.items()
            if repeat == 1
        ],
        pages=pdf_pages(),
    output:
        searches=f"{RESULTS}/tables/remote_searches.parquet",
        results=f"{RESULTS}/tables/remote_results.parquet",
        loads=f"{RESULTS}/tables/remote_loads.parquet",
    log:
        f"{RESULTS}/logs/tabulate_remote_searches.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_remote_searches.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    params:
        labels=REMOTE_LABELS,
        pages=lambda wildcards, input: f"--pages {input.pages}" if input.pages else "",
    message:
        "Tabulating searches"
    shell:
        "python {input.script} {input.searches} {params.pages} --labels {params.labels:q}"
        " --searches {output.searches} --results {output.results} --loads {output.loads} > {log} 2>&1"


use rule report as report_remote_indexing with:
    input:
        script=SCRIPTS / "report.py",
        library=REPORT_CODE,
        tables=[f"{RESULTS}/tables/{table}.parquet" for table in REMOTE_TABLES],
        figures=files_of_figures(REMOTE_FIGURES),
    output:
        page=report(
            f"{RESULTS}/remote_indexing.html",
            caption="captions/report.rst",
            category="Report",
            labels={"figure": "remote_indexing: all, with the tables"},
        ),
    log:
        f"{RESULTS}/logs/report_remote_indexing.log",
    benchmark:
        f"{RESULTS}/benchmarks/report_remote_indexing.tsv"
    params:
        configuration=CONFIGURATION,
        settings=SETTINGS.model_dump_json(),
        tables=lambda wildcards, input: os.path.dirname(input.tables[0]),
        figures=lambda wildcards, input: os.path.dirname(input.figures[0]),
        traces="",
        experiment="remote_indexing",
    message:
        "Writing the report: {output.page}"
