# What explains the runs: the parts of their memory, the memory model beside them, what is unequal, the answers.


rule tabulate_ledger:
    input:
        script=SCRIPTS / "tabulate_ledger.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/run_directories.py",
            "analysis/ledger.py",
        ),
        runs=run_files("run.json", "ledger"),
        ledgers=run_files("ledger.jsonl", "ledger"),
    output:
        f"{RESULTS}/tables/ledger.parquet",
    log:
        f"{RESULTS}/logs/tabulate_ledger.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_ledger.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=30,
    message:
        "Tabulating what was alive at the peaks"
    shell:
        "python {input.script} {input.ledgers} --output {output} > {log} 2>&1"


rule check_memory_model:
    input:
        script=SCRIPTS / "check_memory_model.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "memory_model.py",
            "memory_plan.py",
            "analysis/memory_model_check.py",
        ),
        runs=rules.tabulate_runs.output,
        spans=rules.tabulate_spans.output,
        published=[
            PUBLISHED / "memory_by_size.csv",
            PUBLISHED / "memory_of_kmeans_sample.csv",
        ],
    output:
        model=f"{RESULTS}/tables/memory_model.parquet",
        terms=f"{RESULTS}/tables/memory_model_terms.parquet",
    log:
        f"{RESULTS}/logs/check_memory_model.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_memory_model.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    params:
        checkpoint=json.dumps(
            SETTINGS.checkpoints[SETTINGS.index_memory.checkpoint].model_dump(
                mode="json"
            )
        ),
    message:
        "Checking the memory model against the runs and the published peaks"
    shell:
        "python {input.script} --runs {input.runs} --spans {input.spans} --published {input.published}"
        " --checkpoint {params.checkpoint:q} --output {output.model} --terms {output.terms} > {log} 2>&1"


rule tabulate_confounds:
    input:
        script=SCRIPTS / "tabulate_confounds.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/memory_comparison.py",
            "analysis/confounds.py",
        ),
        runs=rules.tabulate_runs.output,
    output:
        f"{RESULTS}/tables/confounds.parquet",
    log:
        f"{RESULTS}/logs/tabulate_confounds.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_confounds.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Separating what is unequal between the frameworks"
    shell:
        "python {input.script} {input.runs} --output {output} > {log} 2>&1"


# Of what the questions are answered: all tables of the experiment but the answers.
ANSWERED_FROM = [table for table in TABLES if table != "answers"]


rule answer_questions:
    input:
        script=SCRIPTS / "answer_questions.py",
        library=library(
            "schemas.py", "run_record.py", *python_files("analysis/answers")
        ),
        tables=[f"{RESULTS}/tables/{table}.parquet" for table in ANSWERED_FROM],
        published=PUBLISHED / "memory_questions.csv",
    output:
        f"{RESULTS}/tables/answers.parquet",
    log:
        f"{RESULTS}/logs/answer_questions.log",
    benchmark:
        f"{RESULTS}/benchmarks/answer_questions.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=15,
    params:
        tables=lambda wildcards, input: os.path.dirname(input.tables[0]),
    message:
        "Answering the study's questions from measured rows"
    shell:
        "python {input.script} --tables {params.tables} --published {input.published} --output {output} > {log} 2>&1"


rule compare_runs:
    input:
        script=SCRIPTS / "compare_systems.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/memory_comparison.py",
            "analysis/run_comparison.py",
        ),
        runs=rules.tabulate_runs.output,
        spans=rules.tabulate_spans.output,
    output:
        f"{RESULTS}/tables/run_comparison.parquet",
    log:
        f"{RESULTS}/logs/compare_runs.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare_runs.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Comparing the systems phase by phase"
    shell:
        "python {input.script} --runs {input.runs} --spans {input.spans} --output {output} > {log} 2>&1"
