# Tables: run directories and logs → tidy Parquet, and the comparisons made from it.


rule tabulate_runs:
    input:
        script=SCRIPTS / "tabulate_runs.py",
        library=library("schemas.py", "run_record.py", "analysis/run_directories.py"),
        runs=run_files("run.json"),
    output:
        f"{RESULTS}/tables/runs.parquet",
    log:
        f"{RESULTS}/logs/tabulate_runs.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_runs.tsv"
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
        campaign=f"--campaign {SETTINGS.campaign}" if SETTINGS.campaign else "",
    message:
        "Tabulating runs"
    shell:
        "python {input.script} {input.runs} --labels {params.labels:q} {params.campaign} --output {output} > {log} 2>&1"


rule tabulate_spans:
    input:
        script=SCRIPTS / "tabulate_spans.py",
        library=library("schemas.py", "run_record.py", "analysis/run_directories.py"),
        runs=run_files("run.json", "spans"),
        spans=run_files("spans.jsonl", "spans"),
    output:
        f"{RESULTS}/tables/spans.parquet",
    log:
        f"{RESULTS}/logs/tabulate_spans.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_spans.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=30,
    message:
        "Tabulating spans"
    shell:
        "python {input.script} {input.spans} --output {output} > {log} 2>&1"


rule tabulate_memory_curve:
    input:
        script=SCRIPTS / "tabulate_memory_curve.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/run_directories.py",
            "analysis/external_logs.py",
            "analysis/mprof_log.py",
        ),
        runs=run_files("run.json"),
        curves=run_files("memory_curve.csv"),
        external=EXTERNAL_LOGS,
        external_logs=external_logs(),
    output:
        f"{RESULTS}/tables/memory_curve.parquet",
    log:
        f"{RESULTS}/logs/tabulate_memory_curve.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_memory_curve.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=30,
    message:
        "Tabulating memory curves"
    shell:
        "python {input.script} {input.curves} --external {input.external} --output {output} > {log} 2>&1"


rule parse_memory_log:
    input:
        script=SCRIPTS / "parse_memory_profiler_log.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/memory_profiler_log.py",
            "analysis/external_logs.py",
        ),
        logs=run_files("memory_profiler.log", "memory_profiler"),
        external=EXTERNAL_LOGS,
        external_logs=external_logs(),
    output:
        f"{RESULTS}/tables/memory_profiler_lines.parquet",
    log:
        f"{RESULTS}/logs/parse_memory_log.log",
    benchmark:
        f"{RESULTS}/benchmarks/parse_memory_log.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=30,
    message:
        "Parsing memory_profiler logs"
    shell:
        "python {input.script} {input.logs} --external {input.external} --output {output} > {log} 2>&1"


rule tabulate_memory_by_function:
    input:
        script=SCRIPTS / "tabulate_memory_by_function.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/memory_profiler_log.py",
            "analysis/memory_by_function.py",
            "analysis/external_logs.py",
        ),
        functions=HOME / "config/functions.yaml",
        logs=run_files("memory_profiler.log", "memory_profiler"),
        external=EXTERNAL_LOGS,
        external_logs=external_logs(),
    output:
        f"{RESULTS}/tables/memory_by_function.parquet",
    log:
        f"{RESULTS}/logs/tabulate_memory_by_function.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_memory_by_function.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=30,
    message:
        "Tabulating memory by function"
    shell:
        "python {input.script} {input.logs} --functions {input.functions} --external {input.external}"
        " --output {output} > {log} 2>&1"


rule compare_memory:
    input:
        script=SCRIPTS / "compare_memory.py",
        library=library("schemas.py", "run_record.py", "analysis/memory_comparison.py"),
        runs=rules.tabulate_runs.output,
    output:
        f"{RESULTS}/tables/memory_comparison.parquet",
    log:
        f"{RESULTS}/logs/compare_memory.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare_memory.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Comparing memory and time between systems and profilers"
    shell:
        "python {input.script} {input.runs} --output {output} > {log} 2>&1"


PAIRS = [
    {"pair": pair.name, "left": RUNS[left], "right": RUNS[right]}
    for pair in configuration.artifact_pairs(SETTINGS)
    for left, right in configuration.pair_runs(pair, set(RUNS))
]


rule compare_artifacts:
    input:
        script=unless_gone(SCRIPTS / "compare_artifacts.py", "indexes", "dumps"),
        library=unless_gone(COMPARISON_FILES, "indexes", "dumps"),
        manifests=sorted(
            {f"{pair[side]}/artifacts" for pair in PAIRS for side in ("left", "right")}
        ),
    output:
        f"{RESULTS}/tables/artifact_comparison.parquet",
    log:
        f"{RESULTS}/logs/compare_artifacts.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare_artifacts.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=60,
    params:
        pairs=json.dumps(PAIRS),
        tolerance=SETTINGS.index_memory.tolerance,
    message:
        "Comparing the artifacts of pairs of runs"
    shell:
        "python {input.script} --pairs {params.pairs:q} --rtol {params.tolerance.rtol}"
        " --atol {params.tolerance.atol} --output {output} > {log} 2>&1"


rule tabulate_published_encode_seconds:
    input:
        script=SCRIPTS / "tabulate_published_encode_seconds.py",
        library=library(
            "schemas.py", "run_record.py", "analysis/published_encode_seconds.py"
        ),
        published=HOME / "config/published/encode_seconds_per_25k_passages.csv",
    output:
        f"{RESULTS}/tables/published_encode_seconds.parquet",
    log:
        f"{RESULTS}/logs/tabulate_published_encode_seconds.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_published_encode_seconds.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Tabulating published times of encoding"
    shell:
        "python {input.script} {input.published} --output {output} > {log} 2>&1"
