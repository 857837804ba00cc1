# Encoders: a checkpoint in ColBERT's file layout.


rule make_checkpoint:
    input:
        # Ancient: the output is named by the digest of its settings, so an edit here leaves it as it is.
        script=ancient(SCRIPTS / "make_checkpoint.py"),
    output:
        directory("results/checkpoints/{checkpoint}"),
    log:
        "results/logs/make_checkpoint/{checkpoint}.log",
    benchmark:
        "results/benchmarks/make_checkpoint/{checkpoint}.tsv"
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=30,
    params:
        checkpoint=SETTINGS.checkpoints[
            SETTINGS.index_memory.checkpoint
        ].model_dump_json(),
    message:
        "Making the checkpoint {wildcards.checkpoint}"
    shell:
        "python {input.script} --checkpoint {params.checkpoint:q} --output {output} > {log} 2>&1"
