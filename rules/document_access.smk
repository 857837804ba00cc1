# document_access: how a trainer should read its documents.


rule order_samples:
    input:
        script=SCRIPTS / "order_samples.py",
        library=library(
            "run_record.py",
            "document_access/raw_files.py",
            "document_access/samples.py",
        ),
        collection=lambda wildcards: access_collection(wildcards.documents),
    output:
        "results/document_samples/{corpus}/{documents}-{digest}.jsonl",
    log:
        "results/logs/order_samples/{corpus}/{documents}-{digest}.log",
    benchmark:
        "results/benchmarks/order_samples/{corpus}/{documents}-{digest}.tsv"
    wildcard_constraints:
        digest="[0-9a-f]{8}",
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=60,
    params:
        samples=SAMPLES,
        seed=ACCESS.seed,
    message:
        "Drawing {params.samples} samples of {wildcards.documents} documents"
    shell:
        "python {input.script} {input.collection} --samples {params.samples} --seed {params.seed}"
        " --output {output} > {log} 2>&1"


rule prepare_documents:
    input:
        script=SCRIPTS / "prepare_documents.py",
        library=LOADER_FILES,
        collection=lambda wildcards: access_collection(wildcards.documents),
    output:
        # The files lie beside it, a folder for each loader.
        "results/document_sources/{corpus}/{documents}-{lock}/manifest.json",
    log:
        "results/logs/prepare_documents/{corpus}/{documents}-{lock}.log",
    benchmark:
        "results/benchmarks/prepare_documents/{corpus}/{documents}-{lock}.tsv"
    wildcard_constraints:
        lock="[0-9a-f]{8}",
    conda:
        f"../envs/{ACCESS.environment}.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=240,
    params:
        loaders=ACCESS_LOADERS,
        directory=lambda wildcards, output: os.path.dirname(output[0]),
    message:
        "Preparing {wildcards.documents} documents for {params.loaders}"
    shell:
        "python {input.script} {input.collection} --loaders {params.loaders} --output {params.directory}"
        " > {log} 2>&1"


# Before a limit can be set: what a rank needs without documents, and what the documents need.
rule calibrate_training_memory:
    input:
        script=SCRIPTS / "calibrate_training_memory.py",
        worker=SCRIPTS / "training_worker.py",
        library=ACCESS_FILES + library(*python_files("measure")),
        collection=lambda wildcards: access_collection(ACCESS.limited.documents),
        sources=lambda wildcards: access_sources(ACCESS.limited.documents),
        samples=lambda wildcards: access_samples(ACCESS.limited.documents),
        tokenizer=ancient(f"results/checkpoints/{ACCESS_TOKENIZER}"),
    output:
        f"{RESULTS}/document_access/limit.json",
    log:
        f"{RESULTS}/logs/calibrate_training_memory.log",
    benchmark:
        f"{RESULTS}/benchmarks/calibrate_training_memory.tsv"
    conda:
        f"../envs/{ACCESS.environment}.yaml"
    threads: ACCESS.threads
    resources:
        gpu=gpus,
        measured_run=1,
        machine=MACHINE,
        mem_mb=4000,
        runtime=60,
    params:
        # Of the largest world; its loader and world size are the program's to choose.
        training=lambda wildcards: json.dumps(
            [
                training.content
                for training in TRAININGS.values()
                if training.content["limit"]
            ][-1]
        ),
    message:
        "Measuring what a rank needs without documents"
    shell:
        "python {input.script} --training {params.training:q} --collection {input.collection}"
        " --sources {input.sources} --samples {input.samples} --tokenizer {input.tokenizer} --output {output}"
        " > {log} 2>&1"


rule measure_training:
    input:
        script=SCRIPTS / "measure_training.py",
        worker=SCRIPTS / "training_worker.py",
        library=ACCESS_FILES + library(*python_files("measure")),
        collection=lambda wildcards: access_collection(
            training_of(wildcards)["documents"]
        ),
        sources=lambda wildcards: access_sources(training_of(wildcards)["documents"]),
        samples=lambda wildcards: access_samples(training_of(wildcards)["documents"]),
        tokenizer=ancient(f"results/checkpoints/{ACCESS_TOKENIZER}"),
        limit=limited_plan,
    output:
        run=f"{TRAINING}/run.json",
        steps=f"{TRAINING}/steps.jsonl",
        curve=f"{TRAINING}/memory_curve.csv",
        stdout=f"{TRAINING}/stdout.log",
    log:
        f"{RESULTS}/logs/measure_training/{{training}}/{{repeat}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_training/{{training}}/{{repeat}}.tsv"
    wildcard_constraints:
        training="[a-z0-9_]+-[a-z_]+-[0-9]+-[0-9a-f]{8}",
    conda:
        f"../envs/{ACCESS.environment}.yaml"
    threads: ACCESS.threads
    resources:
        # On a GPU a device for each of the world.
        gpu=lambda wildcards: (
            training_of(wildcards)["world_size"] if DEVICE == "cuda" else 0
        ),
        measured_run=1,
        # All of the machine: what runs beside a measured run disturbs it.
        machine=MACHINE,
        mem_mb=training_memory,
        runtime=120,
    params:
        training=lambda wildcards: json.dumps(training_of(wildcards)),
        limit=lambda wildcards, input: f"--limit {input.limit}" if input.limit else "",
        directory=lambda wildcards, output: os.path.dirname(output.run),
    message:
        "Training: {wildcards.training}, repeat {wildcards.repeat}"
    shell:
        "python {input.script} --training {params.training:q} --collection {input.collection}"
        " --sources {input.sources} --samples {input.samples} --tokenizer {input.tokenizer} {params.limit}"
        " --output {params.directory} > {log} 2>&1"


rule measure_fetches:
    input:
        script=SCRIPTS / "measure_fetches.py",
        worker=SCRIPTS / "fetching_worker.py",
        library=ACCESS_FILES + library(*python_files("measure")),
        collection=access_collection(ACCESS.documents),
        sources=access_sources(ACCESS.documents),
    output:
        f"{RESULTS}/document_access/fetches.jsonl",
    log:
        f"{RESULTS}/logs/measure_fetches.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_fetches.tsv"
    conda:
        f"../envs/{ACCESS.environment}.yaml"
    threads: 1
    resources:
        measured_run=1,
        machine=MACHINE,
        mem_mb=2000,
        runtime=120,
    params:
        settings=json.dumps(
            {
                **ACCESS.fetches.model_dump(),
                "documents": ACCESS.documents,
                "seed": ACCESS.seed,
                "timeout_seconds": ACCESS.timeout_seconds,
                "lock_digest": ACCESS_LOCK,
            }
        ),
    message:
        "Fetching documents, without a model; progress is in {log}"
    shell:
        "python {input.script} --settings {params.settings:q} --collection {input.collection}"
        " --sources {input.sources} --output {output} > {log} 2>&1"


rule measure_document_scale:
    input:
        script=SCRIPTS / "measure_document_scale.py",
        library=ACCESS_FILES + library(*python_files("measure")),
    output:
        f"{RESULTS}/document_access/scale.jsonl",
    log:
        f"{RESULTS}/logs/measure_document_scale.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_document_scale.tsv"
    conda:
        f"../envs/{ACCESS.environment}.yaml"
    threads: 1
    resources:
        measured_run=1,
        machine=MACHINE,
        mem_mb=2000,
        runtime=240,
    params:
        settings=json.dumps(
            {
                **ACCESS.scale.model_dump(),
                "seed": ACCESS.seed,
                "lock_digest": ACCESS_LOCK,
            }
        ),
    message:
        "Building and reading the offset index of a large collection; progress is in {log}"
    shell:
        "python {input.script} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule tabulate_document_access:
    input:
        script=SCRIPTS / "tabulate_document_access.py",
        library=ACCESS_ANALYSIS,
        runs=[
            f"{RESULTS}/document_access/runs/{training}/run.json"
            for training in TRAININGS
        ],
        steps=[
            f"{RESULTS}/document_access/runs/{training}/steps.jsonl"
            for training in TRAININGS
        ],
    output:
        access=f"{RESULTS}/tables/document_access.parquet",
        steps=f"{RESULTS}/tables/document_access_steps.parquet",
        processes=f"{RESULTS}/tables/document_access_processes.parquet",
    log:
        f"{RESULTS}/logs/tabulate_document_access.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_document_access.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Tabulating trainings"
    shell:
        "python {input.script} {input.runs} --access {output.access} --steps {output.steps}"
        " --processes {output.processes} > {log} 2>&1"


rule tabulate_document_fetches:
    input:
        script=SCRIPTS / "tabulate_document_fetches.py",
        library=ACCESS_ANALYSIS,
        records=rules.measure_fetches.output,
    output:
        f"{RESULTS}/tables/document_fetches.parquet",
    log:
        f"{RESULTS}/logs/tabulate_document_fetches.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_document_fetches.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Tabulating fetches"
    shell:
        "python {input.script} {input.records} --output {output} > {log} 2>&1"


use rule tabulate_document_fetches as tabulate_document_scale with:
    input:
        script=SCRIPTS / "tabulate_document_scale.py",
        library=ACCESS_ANALYSIS,
        records=rules.measure_document_scale.output,
    output:
        f"{RESULTS}/tables/document_scale.parquet",
    log:
        f"{RESULTS}/logs/tabulate_document_scale.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_document_scale.tsv"
    message:
        "Tabulating the offset index of a large collection"


rule tabulate_document_published:
    input:
        script=SCRIPTS / "tabulate_document_published.py",
        library=ACCESS_ANALYSIS,
        published=sorted(PUBLISHED.glob("document_access*")),
        access=rules.tabulate_document_access.output.access,
        collection=access_collection(ACCESS.documents),
    output:
        f"{RESULTS}/tables/document_published.parquet",
    log:
        f"{RESULTS}/logs/tabulate_document_published.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_document_published.tsv"
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
        "Setting published throughput and memory beside ours"
    shell:
        "python {input.script} --published {params.published} --access {input.access} --collection {input.collection}"
        " --output {output} > {log} 2>&1"


rule advise_document_access:
    input:
        script=SCRIPTS / "advise_document_access.py",
        library=ACCESS_ANALYSIS,
        access=rules.tabulate_document_access.output.access,
        fetches=rules.tabulate_document_fetches.output,
    output:
        f"{RESULTS}/tables/document_advice.parquet",
    log:
        f"{RESULTS}/logs/advise_document_access.log",
    benchmark:
        f"{RESULTS}/benchmarks/advise_document_access.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Recommending a loader"
    shell:
        "python {input.script} --access {input.access} --fetches {input.fetches} --output {output} > {log} 2>&1"


use rule report as report_document_access with:
    input:
        script=SCRIPTS / "report.py",
        library=REPORT_CODE,
        tables=[f"{RESULTS}/tables/{table}.parquet" for table in DOCUMENT_TABLES],
        figures=files_of_figures(DOCUMENT_FIGURES),
    output:
        page=report(
            f"{RESULTS}/document_access.html",
            caption="captions/report.rst",
            category="Report",
            labels={"figure": "document_access: all, with the tables"},
        ),
    log:
        f"{RESULTS}/logs/report_document_access.log",
    benchmark:
        f"{RESULTS}/benchmarks/report_document_access.tsv"
    params:
        configuration=CONFIGURATION,
        settings=SETTINGS.model_dump_json(),
        tables=lambda wildcards, input: os.path.dirname(input.tables[0]),
        figures=lambda wildcards, input: os.path.dirname(input.figures[0]),
        traces="",
        experiment="document_access",
