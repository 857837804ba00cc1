# Documents: slices of a corpus, each the first N documents, so that each is a prefix of the next.


rule slice_dataset:
    input:
        # Ancient: the output is named by the digest of its settings, so an edit here leaves it as it is.
        script=ancient(SCRIPTS / "slice_dataset.py"),
    output:
        parquet="results/slices/{corpus}/{documents}.parquet",
        jsonl="results/slices/{corpus}/{documents}.jsonl",
    log:
        "results/logs/slice_dataset/{corpus}/{documents}.log",
    benchmark:
        "results/benchmarks/slice_dataset/{corpus}/{documents}.tsv"
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=60,
    params:
        corpus=SETTINGS.corpora[SETTINGS.index_memory.corpus].model_dump_json(),
    message:
        "Slicing the first {wildcards.documents} documents of {wildcards.corpus}"
    shell:
        "python {input.script} --corpus {params.corpus:q} --documents {wildcards.documents}"
        " --output {output.parquet} > {log} 2>&1"
