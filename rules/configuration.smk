# The resolved configuration, every default filled in.


# The resolved configuration is written before any work starts: what starts the chain waits for it.
rule write_configuration:
    input:
        script=SCRIPTS / "write_configuration.py",
    output:
        "results/configuration.yaml",
    log:
        "results/logs/write_configuration.log",
    benchmark:
        "results/benchmarks/write_configuration.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=500,
        runtime=5,
    params:
        content=SETTINGS.model_dump_json(),
    message:
        "Writing the resolved configuration"
    shell:
        "python {input.script} --content {params.content:q} --output {output} > {log} 2>&1"
