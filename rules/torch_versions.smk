# torch_versions: which artifacts change between PyTorch versions, which operator first, and whether search notices.


rule make_environment:
    input:
        script=SCRIPTS / "make_environment.py",
    output:
        # ENVIRONMENT-LOCK; the environment itself is beside the manifest. One that cannot be built is a result.
        "results/environments/{environment}/environment.json",
    log:
        "results/logs/make_environment/{environment}.log",
    benchmark:
        "results/benchmarks/make_environment/{environment}.tsv"
    wildcard_constraints:
        environment=to_make(
            "[^/]+",
            TORCH_ENVIRONMENTS.values(),
            "results/environments/{}/environment.json",
        ),
    # Nodes of a cluster often have no network.
    localrule: True
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=120,
    params:
        specification=lambda wildcards: ENVIRONMENTS
        / f"{wildcards.environment.rpartition('-')[0]}.yaml",
    message:
        "Building the environment {wildcards.environment}"
    shell:
        "python {input.script} {params.specification} --output {output} > {log} 2>&1"


rule describe_torch:
    input:
        script=SCRIPTS / "describe_torch.py",
        environment=lambda wildcards: ancient(version_environment(wildcards.version)),
    output:
        f"{RESULTS}/torch_versions/environments/{{version}}.json",
    log:
        f"{RESULTS}/logs/describe_torch/{{version}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/describe_torch/{{version}}.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: SETTINGS.torch_versions.threads
    resources:
        gpu=gpus,
        machine=1,
        mem_mb=2000,
        runtime=10,
    params:
        inside=lambda wildcards, input: inside(input),
        device=DEVICE,
    message:
        "Asking PyTorch {wildcards.version} what it computes with"
    shell:
        "python {params.inside} {input.script} --threads {threads} --device {params.device}"
        " --output {output} > {log} 2>&1"


use rule compile_extensions as compile_extensions_of_version with:
    input:
        script=SCRIPTS / "compile_extensions.py",
        environment=lambda wildcards: ancient(
            "results/environments/{}/environment.json".format(
                "-".join(wildcards.extensions.split("-")[1:-1])
            )
        ),
    wildcard_constraints:
        extensions=to_make(
            f"{version_runs.EXTENSIONS}-torch-[0-9.]+-[0-9a-f]{{8}}-(?:cpu|cuda)",
            TORCH_EXTENSIONS.values(),
            "results/extensions/{}/manifest.json",
        ),
    conda:
        "../envs/analysis.yaml"
    params:
        of=f"{version_runs.EXTENSIONS} --failure-is-a-result",
        device=lambda wildcards: wildcards.extensions.rpartition("-")[2],
        inside=lambda wildcards, input: inside(input),


use rule index_collection as index_with_version with:
    input:
        script=SCRIPTS / "index_collection.py",
        worker=SCRIPTS / "index_worker.py",
        library=lambda wildcards: measuring_files(wildcards) + DUMPING_FILES,
        environment=lambda wildcards: ancient(
            version_environment(version_of(wildcards))
        ),
        cell=ancient("results/cells/{system}.json"),
        collection=ancient(TORCH_SLICE),
        checkpoint=ancient(f"results/checkpoints/{TORCH_CHECKPOINT}"),
        extensions=lambda wildcards: ancient(
            f"results/extensions/{TORCH_EXTENSIONS[version_of(wildcards)]}/manifest.json"
        ),
        donor=lambda wildcards: [
            f"{donor}/{file}"
            for donor in [donor_of(wildcards)]
            if donor
            for file in ("run.json", "dumps")
        ],
    output:
        run=f"{TORCH_RUN}/run.json",
        spans=f"{TORCH_RUN}/spans.jsonl",
        curve=f"{TORCH_RUN}/memory_curve.csv",
        memory_profiler=f"{TORCH_RUN}/memory_profiler.log",
        ledger=f"{TORCH_RUN}/ledger.jsonl",
        printed=f"{TORCH_RUN}/stdout.log",
        index=kept(directory(f"{TORCH_RUN}/index"), "indexes"),
        dumps=kept(directory(f"{TORCH_RUN}/dumps"), "indexes", "dumps"),
    log:
        f"{RESULTS}/logs/index_with_version/{{system}}/{{documents}}/{{repeat}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_with_version/{{system}}/{{documents}}/{{repeat}}.tsv"
    wildcard_constraints:
        system=TORCH_SYSTEM,
    conda:
        "../envs/analysis.yaml"
    threads: SETTINGS.torch_versions.threads
    resources:
        gpu=gpus,
        # What these runs cost is not compared; what they make is.
        machine=1,
        mem_mb=lambda wildcards, attempt: attempt * memory_of(wildcards),
        gpu_mem_mb=lambda wildcards: memory_of(wildcards, "gpu"),
        runtime=lambda wildcards: 10 + SETTINGS.measurement.timeout_seconds // 60,
        # Which attempt of the job this is, and a folder of a fast local disk to build in (none): docs/cluster.md.
        attempt=lambda wildcards, attempt: attempt,
        scratch="",
    params:
        directory=lambda wildcards, output: os.path.dirname(output.run),
        extensions=lambda wildcards, input: f"--extensions {os.path.dirname(input.extensions)}",
        inside=lambda wildcards, input: inside(input),
        profiler=version_runs.PROFILER,
        given=lambda wildcards: (
            f"--donor {donor_of(wildcards)}" if donor_of(wildcards) else ""
        ),
    message:
        "Indexing with dumps: {wildcards.system}/{wildcards.documents}/{wildcards.repeat}"


use rule dump_artifacts as dump_artifacts_of_version with:
    input:
        script=unless_gone(SCRIPTS / "dump_artifacts.py", "indexes"),
        library=unless_gone(DUMP_FILES, "indexes"),
        run=f"{TORCH_RUN}/run.json",
        index=f"{TORCH_RUN}/index",
        dumps=f"{TORCH_RUN}/dumps",
        environment=lambda wildcards: ancient(
            version_environment(version_of(wildcards))
        ),
    output:
        kept(directory(f"{TORCH_RUN}/artifacts"), "indexes", "dumps"),
    log:
        f"{RESULTS}/logs/dump_artifacts/{{system}}/{{documents}}/{{repeat}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/dump_artifacts/{{system}}/{{documents}}/{{repeat}}.tsv"
    wildcard_constraints:
        system=TORCH_SYSTEM,
    conda:
        "../envs/analysis.yaml"
    params:
        directory=lambda wildcards, input: os.path.dirname(input.run),
        inside=lambda wildcards, input: inside(input),
    message:
        "Dumping the artifacts of {params.directory}"


rule fetch_queries:
    input:
        script=SCRIPTS / "fetch_queries.py",
    output:
        f"results/datasets/{TORCH_QUERY_DATASET}/manifest.json",
    log:
        "results/logs/fetch_queries.log",
    benchmark:
        "results/benchmarks/fetch_queries.tsv"
    localrule: True
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=120,
    params:
        queries=SETTINGS.torch_versions.queries.model_dump_json(),
        directory=lambda wildcards, output: os.path.dirname(output[0]),
    message:
        "Downloading queries and judgements"
    shell:
        "python {input.script} --queries {params.queries:q} --output {params.directory} > {log} 2>&1"


rule make_queries:
    input:
        script=SCRIPTS / "make_queries.py",
        library=library("run_record.py", "corpora/queries.py"),
        collection=ancient(TORCH_SLICE),
        dataset=(
            f"results/datasets/{TORCH_QUERY_DATASET}/manifest.json"
            if TORCH_QUERY_DATASET
            else []
        ),
    output:
        queries=f"results/queries/{TORCH_CORPUS}/{TORCH_QUERIES}/queries.jsonl",
        qrels=f"results/queries/{TORCH_CORPUS}/{TORCH_QUERIES}/qrels.jsonl",
        manifest=f"results/queries/{TORCH_CORPUS}/{TORCH_QUERIES}/manifest.json",
    log:
        f"results/logs/make_queries/{TORCH_CORPUS}/{TORCH_QUERIES}.log",
    benchmark:
        f"results/benchmarks/make_queries/{TORCH_CORPUS}/{TORCH_QUERIES}.tsv"
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=30,
    params:
        queries=SETTINGS.torch_versions.queries.model_dump_json(),
        directory=lambda wildcards, output: os.path.dirname(output.queries),
        dataset=lambda wildcards, input: (
            f"--dataset {os.path.dirname(input.dataset)}" if input.dataset else ""
        ),
    message:
        "Making the queries of {TORCH_CORPUS}"
    shell:
        "python {input.script} --queries {params.queries:q} --collection {input.collection} {params.dataset}"
        " --output {params.directory} > {log} 2>&1"


rule search_with_version:
    input:
        script=SCRIPTS / "search_queries.py",
        environment=lambda wildcards: ancient(version_environment(wildcards.searching)),
        extensions=lambda wildcards: ancient(
            f"results/extensions/{TORCH_EXTENSIONS[wildcards.searching]}/manifest.json"
        ),
        run=lambda wildcards: f"{index_run_of(wildcards.indexed)}/run.json",
        index=lambda wildcards: f"{index_run_of(wildcards.indexed)}/index",
        collection=ancient(TORCH_SLICE),
        checkpoint=ancient(f"results/checkpoints/{TORCH_CHECKPOINT}"),
        queries=rules.make_queries.output.queries,
    output:
        f"{RESULTS}/torch_versions/searches/{{indexed}}-by-{{searching}}.jsonl",
    log:
        f"{RESULTS}/logs/search_with_version/{{indexed}}-by-{{searching}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/search_with_version/{{indexed}}-by-{{searching}}.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: SETTINGS.torch_versions.threads
    resources:
        gpu=gpus,
        machine=1,
        mem_mb=4000,
        runtime=120,
    params:
        inside=lambda wildcards, input: inside(input),
        run=lambda wildcards, input: os.path.dirname(input.run),
        extensions=lambda wildcards, input: os.path.dirname(input.extensions),
        queries=lambda wildcards, input: os.path.dirname(input.queries),
        search=SETTINGS.torch_versions.search.model_dump_json(),
        device=DEVICE,
    message:
        "Searching the index of {wildcards.indexed} with PyTorch {wildcards.searching}"
    shell:
        "python {params.inside} {input.script} --run {params.run} --collection {input.collection}"
        " --checkpoint {input.checkpoint} --extensions {params.extensions} --queries {params.queries}"
        " --search {params.search:q} --threads {threads} --device {params.device} --output {output} > {log} 2>&1"


rule record_operators:
    input:
        script=SCRIPTS / "record_operators.py",
        library=OPERATOR_FILES,
        environment=lambda wildcards: ancient(version_environment(wildcards.version)),
        extensions=lambda wildcards: ancient(
            f"results/extensions/{TORCH_EXTENSIONS[wildcards.version]}/manifest.json"
        ),
        collection=ancient(TORCH_SLICE),
        checkpoint=ancient(f"results/checkpoints/{TORCH_CHECKPOINT}"),
    output:
        kept(
            directory(f"{RESULTS}/torch_versions/recordings/{{version}}"),
            "indexes",
            "dumps",
        ),
    log:
        f"{RESULTS}/logs/record_operators/{{version}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/record_operators/{{version}}.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: SETTINGS.torch_versions.threads
    resources:
        gpu=gpus,
        machine=1,
        mem_mb=4000,
        runtime=240,
    params:
        inside=lambda wildcards, input: inside(input),
        extensions=lambda wildcards, input: os.path.abspath(
            os.path.dirname(input.extensions)
        ),
        operators=SETTINGS.torch_versions.operators.model_dump_json(),
        settings=SETTINGS.torch_versions.settings.model_dump_json(),
        device=DEVICE,
    message:
        "Recording every operator of PyTorch {wildcards.version}"
    shell:
        "TORCH_EXTENSIONS_DIR={params.extensions}"
        " python {params.inside} {input.script} --checkpoint {input.checkpoint} --collection {input.collection}"
        " --operators {params.operators:q} --index-settings {params.settings:q} --threads {threads}"
        " --device {params.device} --output {output} > {log} 2>&1"


rule replay_operators:
    input:
        script=SCRIPTS / "replay_operators.py",
        library=OPERATOR_FILES,
        environment=lambda wildcards: ancient(version_environment(wildcards.replaying)),
        recording=f"{RESULTS}/torch_versions/recordings/{{recorded}}",
        recorded_with=f"{RESULTS}/torch_versions/environments/{{recorded}}.json",
    output:
        f"{RESULTS}/torch_versions/replays/{{recorded}}-in-{{replaying}}{{instructions}}.jsonl",
    log:
        f"{RESULTS}/logs/replay_operators/{{recorded}}-in-{{replaying}}{{instructions}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/replay_operators/{{recorded}}-in-{{replaying}}{{instructions}}.tsv"
    wildcard_constraints:
        recorded="[0-9.]+",
        replaying="[0-9.]+",
        # With the vector instructions that the replaying version chooses, or with those of the recording one.
        instructions="|-as-recorded",
    conda:
        "../envs/analysis.yaml"
    threads: SETTINGS.torch_versions.threads
    resources:
        gpu=gpus,
        machine=1,
        mem_mb=4000,
        runtime=240,
    params:
        inside=lambda wildcards, input: inside(input),
        device=DEVICE,
        # Why an operator differs is told by the replays that have the recorded one's instructions.
        instructions=lambda wildcards, input: (
            f"--instructions-of {input.recorded_with} --without-onednn"
            if wildcards.instructions
            else "--without-onednn" * (wildcards.recorded == wildcards.replaying)
        ),
    message:
        "Giving the inputs of PyTorch {wildcards.recorded} to the operators of {wildcards.replaying}{wildcards.instructions}"
    shell:
        "python {params.inside} {input.script} {input.recording} {params.instructions}"
        " --threads {threads} --device {params.device} --output {output} > {log} 2>&1"
