# Measured runs: extensions compiled beforehand, then one index per run in a fresh process.


rule resolve_cell:
    input:
        script=SCRIPTS / "write_cell.py",
    output:
        "results/cells/{system}.json",
    log:
        "results/logs/resolve_cell/{system}.log",
    benchmark:
        "results/benchmarks/resolve_cell/{system}.tsv"
    wildcard_constraints:
        system=to_make(
            "[a-z][a-z0-9_]*-[0-9a-f]{8}",
            [
                *(
                    cell.path_name
                    for cell in [*ALL_CELLS.values(), *REMOTE_CELLS.values()]
                ),
                *TORCH.cells,
            ],
            "results/cells/{}.json",
        ),
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=500,
        runtime=5,
    params:
        content=lambda wildcards: json.dumps(cell_of(wildcards).content, sort_keys=True),
    message:
        "Resolving the settings of {wildcards.system}"
    shell:
        "python {input.script} --content {params.content:q} --output {output} > {log} 2>&1"


rule compile_extensions:
    input:
        script=SCRIPTS / "compile_extensions.py",
    output:
        # MODULE-ENVIRONMENT-LOCK-DEVICE
        "results/extensions/{extensions}/manifest.json",
    log:
        "results/logs/compile_extensions/{extensions}.log",
    benchmark:
        "results/benchmarks/compile_extensions/{extensions}.tsv"
    wildcard_constraints:
        extensions=to_make(
            "[a-z0-9_]+-[a-z0-9_]+-[0-9a-f]{8}-(?:cpu|cuda)",
            EXTENSIONS,
            "results/extensions/{}/manifest.json",
        ),
    conda:
        lambda wildcards: f"../envs/{wildcards.extensions.split('-')[1]}.yaml"
    threads: 1
    resources:
        # Building for CUDA needs its compiler, and on a cluster that is where the GPU is.
        gpu=gpus,
        machine=1,
        mem_mb=3000,
        runtime=30,
    params:
        of=lambda wildcards: wildcards.extensions.split("-")[0],
        device=lambda wildcards: wildcards.extensions.rpartition("-")[2],
        inside="",
    message:
        "Compiling the extensions {wildcards.extensions}"
    shell:
        "python {params.inside} {input.script} --of {params.of} --device {params.device} --output {output} > {log} 2>&1"


rule index_collection:
    input:
        script=SCRIPTS / "index_collection.py",
        worker=SCRIPTS / "index_worker.py",
        library=measuring_files,
        # Named by the digest of their settings: made again, they hold the same.
        cell=ancient("results/cells/{system}.json"),
        collection=lambda wildcards: ancient(collection_of(wildcards)),
        checkpoint=ancient(f"results/checkpoints/{CHECKPOINT}"),
        extensions=lambda wildcards: ancient(extensions_of(wildcards)),
    output:
        run=f"{RUN}/run.json",
        spans=f"{RUN}/spans.jsonl",
        curve=f"{RUN}/memory_curve.csv",
        memory_profiler=f"{RUN}/memory_profiler.log",
        ledger=f"{RUN}/ledger.jsonl",
        printed=f"{RUN}/stdout.log",
        index=kept(directory(f"{RUN}/index"), "indexes"),
    log:
        f"{RESULTS}/logs/index_collection/{{system}}/{{documents}}/{{profiler}}/{{repeat}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_collection/{{system}}/{{documents}}/{{profiler}}/{{repeat}}.tsv"
    conda:
        lambda wildcards: f"../envs/{cell_of(wildcards).content['environment']}.yaml"
    threads: SETTINGS.measurement.threads
    resources:
        gpu=gpus,
        measured_run=1,
        # All of the machine: what runs beside a measured run disturbs it.
        machine=machine_of,
        mem_mb=lambda wildcards, attempt: attempt * memory_of(wildcards),
        gpu_mem_mb=lambda wildcards: memory_of(wildcards, "gpu"),
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
        profiler=lambda wildcards: wildcards.profiler,
        # What another experiment's runs have beside: where they run, and what they are given.
        inside="",
        given="",
    message:
        "Run {PROGRESS:{wildcards.system}/{wildcards.documents}/{wildcards.profiler}/{wildcards.repeat}}"
    shell:
        "INDEXSCOPE_ATTEMPT={resources.attempt} python {params.inside} {input.script} --cell {input.cell}"
        " --collection {input.collection} --checkpoint {input.checkpoint} {params.extensions} {params.given}"
        " --documents {wildcards.documents} --profiler {params.profiler} --repeat {wildcards.repeat}"
        ' --threads {threads} --scratch "{resources.scratch}" --output {params.directory} > {log} 2>&1'
