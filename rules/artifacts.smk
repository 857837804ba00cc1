# Artifacts: the tensors of each finished index, read outside of any measurement.


rule dump_artifacts:
    input:
        script=unless_gone(SCRIPTS / "dump_artifacts.py", "indexes"),
        library=unless_gone(DUMP_FILES, "indexes"),
        run=f"{RUN}/run.json",
        index=f"{RUN}/index",
    output:
        kept(directory(f"{RUN}/artifacts"), "indexes", "dumps"),
    log:
        f"{RESULTS}/logs/dump_artifacts/{{system}}/{{documents}}/{{profiler}}/{{repeat}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/dump_artifacts/{{system}}/{{documents}}/{{profiler}}/{{repeat}}.tsv"
    conda:
        lambda wildcards: f"../envs/{cell_of(wildcards).content['environment']}.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=3000,
        runtime=30,
    params:
        directory=lambda wildcards, input: os.path.dirname(input.run),
        inside="",
    message:
        "Dumping the artifacts of {params.directory}"
    shell:
        "python {params.inside} {input.script} {params.directory} --output {output}/manifest.json > {log} 2>&1"
