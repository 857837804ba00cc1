# profiler_cost: what measuring costs. The same index again and again, under each way of measuring in turn.


rule benchmark_profilers:
    input:
        script=SCRIPTS / "benchmark_profilers.py",
        worker=SCRIPTS / "index_worker.py",
        library=measuring_files,
        # Named by the digest of their settings: made again, they hold the same.
        cell=ancient("results/cells/{system}.json"),
        collection=lambda wildcards: ancient(cost_collection_of(wildcards)),
        checkpoint=ancient(f"results/checkpoints/{CHECKPOINT}"),
        extensions=lambda wildcards: ancient(extensions_of(wildcards)),
    output:
        f"{RESULTS}/profiler_cost/{{system}}.jsonl",
    log:
        f"{RESULTS}/logs/benchmark_profilers/{{system}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/benchmark_profilers/{{system}}.tsv"
    conda:
        lambda wildcards: f"../envs/{cell_of(wildcards).content['environment']}.yaml"
    threads: SETTINGS.measurement.threads
    resources:
        gpu=gpus,
        measured_run=1,
        # All of the machine: what runs beside a measured run disturbs it.
        machine=MACHINE,
        mem_mb=lambda wildcards, attempt: attempt * cost_memory_of(wildcards),
        runtime=10 * COST_RUNS,
    params:
        extensions=lambda wildcards, input: (
            f"--extensions {os.path.dirname(input.extensions)}"
            if input.extensions
            else ""
        ),
        documents=SETTINGS.profiler_cost.documents,
        rounds=SETTINGS.profiler_cost.rounds,
        variants=SETTINGS.profiler_cost.variants,
        runs=COST_RUNS,
    message:
        "Measuring what measuring costs: {params.runs} runs of {wildcards.system}; progress is in {log}"
    shell:
        "python {input.script} --cell {input.cell} --collection {input.collection}"
        " --checkpoint {input.checkpoint} {params.extensions} --documents {params.documents}"
        " --rounds {params.rounds} --variants {params.variants} --output {output} > {log} 2>&1"


rule tabulate_profiler_rounds:
    input:
        script=SCRIPTS / "tabulate_profiler_rounds.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/run_directories.py",
            "analysis/profiler_overhead.py",
        ),
        rounds=[
            f"{RESULTS}/profiler_cost/{cell.path_name}.jsonl"
            for cell in COST_CELLS.values()
        ],
    output:
        rounds=f"{RESULTS}/tables/profiler_rounds.parquet",
        overhead=f"{RESULTS}/tables/profiler_overhead.parquet",
    log:
        f"{RESULTS}/logs/tabulate_profiler_rounds.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_profiler_rounds.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    params:
        labels=json.dumps(
            {name: system.label for name, system in SETTINGS.systems.items()}
        ),
    message:
        "Tabulating what measuring costs"
    shell:
        "python {input.script} {input.rounds} --labels {params.labels:q} --rounds {output.rounds}"
        " --output {output.overhead} > {log} 2>&1"


rule profiler_cost:
    input:
        files_of_figures(PROFILER_COST_FIGURES),
    localrule: True
