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


rule split_documents:
    input:
        # Ancient: the output is named by the digest of its settings, so an edit here leaves it as it is.
        script=ancient(SCRIPTS / "split_documents.py"),
        collection=ancient("results/slices/{corpus}/{documents}.jsonl"),
    output:
        "results/passages/{corpus}/{documents}-{tokens}.jsonl",
    log:
        "results/logs/split_documents/{corpus}/{documents}-{tokens}.log",
    benchmark:
        "results/benchmarks/split_documents/{corpus}/{documents}-{tokens}.tsv"
    wildcard_constraints:
        tokens="[0-9]+",
    conda:
        "../envs/ragatouille.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=4000,
        runtime=120,
    message:
        "Splitting {wildcards.documents} documents of {wildcards.corpus} as RAGatouille splits them"
    shell:
        "python {input.script} {input.collection} --tokens {wildcards.tokens} --output {output} > {log} 2>&1"
