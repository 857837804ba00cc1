# Encoders: a checkpoint in ColBERT's file layout.


rule make_checkpoint:
    input:
        script=SCRIPTS / "make_checkpoint.py",
    output:
        directory("results/checkpoints/{checkpoint}"),
    log:
        "results/logs/make_checkpoint/{checkpoint}.log",
    benchmark:
        "results/benchmarks/make_checkpoint/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=to_make(
            f"(?:{checkpoints_from('synthetic', 'local')})",
            list(CHECKPOINTS),
            "results/checkpoints/{}",
        ),
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=30,
    params:
        checkpoint=lambda wildcards: CHECKPOINTS[wildcards.checkpoint].model_dump_json(),
    message:
        "Making the checkpoint {wildcards.checkpoint}"
    shell:
        "python {input.script} --checkpoint {params.checkpoint:q} --output {output} > {log} 2>&1"


rule fetch_checkpoint:
    input:
        script=SCRIPTS / "fetch_checkpoint.py",
    output:
        # An interrupted download is gone on with: until it is complete, it is beside this folder.
        directory("results/checkpoints/{checkpoint}"),
    log:
        "results/logs/fetch_checkpoint/{checkpoint}.log",
    benchmark:
        "results/benchmarks/fetch_checkpoint/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=to_make(
            f"(?:{checkpoints_from('hub')})",
            list(CHECKPOINTS),
            "results/checkpoints/{}",
        ),
    # Nodes of a cluster often have no network.
    localrule: True
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=720,
    params:
        checkpoint=lambda wildcards: CHECKPOINTS[wildcards.checkpoint].model_dump_json(),
    message:
        "Downloading the checkpoint {wildcards.checkpoint}"
    shell:
        "python {input.script} --checkpoint {params.checkpoint:q} --output {output} > {log} 2>&1"
