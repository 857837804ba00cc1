# Documents: slices of a corpus, each the first N documents, so that each is a prefix of the next.


rule fetch_dataset:
    input:
        script=SCRIPTS / "fetch_dataset.py",
    output:
        # The manifest alone: what an interrupted download has brought stays beside it, and is gone on with.
        "results/datasets/{dataset}/manifest.json",
    log:
        "results/logs/fetch_dataset/{dataset}.log",
    benchmark:
        "results/benchmarks/fetch_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=to_make("[^/]+", list(DATASETS), "results/datasets/{}/manifest.json"),
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
        corpus=lambda wildcards: DATASETS[wildcards.dataset].model_dump_json(),
        directory=lambda wildcards, output: os.path.dirname(output[0]),
    message:
        "Downloading {wildcards.dataset}"
    shell:
        "python {input.script} --corpus {params.corpus:q} --output {params.directory} > {log} 2>&1"


rule slice_dataset:
    input:
        script=SCRIPTS / "slice_dataset.py",
        dataset=lambda wildcards: ancient(dataset_of(wildcards)),
    output:
        parquet="results/slices/{corpus}/{documents}.parquet",
        jsonl="results/slices/{corpus}/{documents}.jsonl",
    log:
        "results/logs/slice_dataset/{corpus}/{documents}.log",
    benchmark:
        "results/benchmarks/slice_dataset/{corpus}/{documents}.tsv"
    wildcard_constraints:
        documents=to_make(
            "[0-9]+",
            SIZES,
            f"results/slices/{CORPUS}/{{}}.parquet",
            f"results/slices/{CORPUS}/{{}}.jsonl",
        ),
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=60,
    params:
        corpus=lambda wildcards: CORPORA[wildcards.corpus].model_dump_json(),
        dataset=lambda wildcards, input: (
            f"--dataset {os.path.dirname(input.dataset)}" if input.dataset else ""
        ),
    message:
        "Slicing the first {wildcards.documents} documents of {wildcards.corpus}"
    shell:
        "python {input.script} --corpus {params.corpus:q} {params.dataset} --documents {wildcards.documents}"
        " --output {output.parquet} > {log} 2>&1"


rule split_documents:
    input:
        script=SCRIPTS / "split_documents.py",
        collection=lambda wildcards: "results/slices/{}/{}.jsonl".format(
            wildcards.corpus, wildcards.split.split("-")[0]
        ),
    output:
        "results/passages/{corpus}/{split}.jsonl",
    log:
        "results/logs/split_documents/{corpus}/{split}.log",
    benchmark:
        "results/benchmarks/split_documents/{corpus}/{split}.tsv"
    wildcard_constraints:
        # DOCUMENTS-TOKENS
        split=to_make("[0-9]+-[0-9]+", SPLITS, f"results/passages/{CORPUS}/{{}}.jsonl"),
    conda:
        "../envs/ragatouille.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=4000,
        runtime=120,
    params:
        tokens=lambda wildcards: wildcards.split.split("-")[1],
    message:
        "Splitting documents of {wildcards.corpus} as RAGatouille splits them: {wildcards.split}"
    shell:
        "python {input.script} {input.collection} --tokens {params.tokens} --output {output} > {log} 2>&1"
