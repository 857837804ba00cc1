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
        dataset=to_make(
            one_of(set(DATASETS) - PDF_DATASETS),
            list(DATASETS),
            "results/datasets/{}/manifest.json",
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
        corpus=lambda wildcards: DATASETS[wildcards.dataset].model_dump_json(),
        directory=lambda wildcards, output: os.path.dirname(output[0]),
    message:
        "Downloading {wildcards.dataset}"
    shell:
        "python {input.script} --corpus {params.corpus:q} --output {params.directory} > {log} 2>&1"


rule extract_pdfs:
    input:
        script=SCRIPTS / "extract_pdfs.py",
    output:
        manifest="results/datasets/{dataset}/manifest.json",
        # Each page with text, and what became of every page.
        documents="results/datasets/{dataset}/documents.jsonl",
        pages="results/datasets/{dataset}/pages.jsonl",
    log:
        "results/logs/extract_pdfs/{dataset}.log",
    benchmark:
        "results/benchmarks/extract_pdfs/{dataset}.tsv"
    wildcard_constraints:
        dataset=to_make(
            one_of(PDF_DATASETS), PDF_DATASETS, "results/datasets/{}/manifest.json"
        ),
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        # The process that reads, and the one that asks it.
        mem_mb=lambda wildcards: DATASETS[wildcards.dataset].memory_mib + 500,
        runtime=240,
    params:
        corpus=lambda wildcards: DATASETS[wildcards.dataset].model_dump_json(),
        directory=lambda wildcards, output: os.path.dirname(output.manifest),
    message:
        "Reading the PDFs of {wildcards.dataset}"
    shell:
        "python {input.script} --corpus {params.corpus:q} --output {params.directory} > {log} 2>&1"


rule slice_dataset:
    input:
        script=SCRIPTS / "slice_dataset.py",
        dataset=lambda wildcards: ancient(dataset_of(os.path.dirname(wildcards.slice))),
    output:
        parquet="results/slices/{slice}.parquet",
        jsonl="results/slices/{slice}.jsonl",
    log:
        "results/logs/slice_dataset/{slice}.log",
    benchmark:
        "results/benchmarks/slice_dataset/{slice}.tsv"
    wildcard_constraints:
        # CORPUS/DOCUMENTS
        slice=to_make(
            "[^/]+/(?:[0-9]+|all)",
            SLICES,
            "results/slices/{}.parquet",
            "results/slices/{}.jsonl",
        ),
    conda:
        "../envs/corpora.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=60,
    params:
        corpus=lambda wildcards: CORPORA[
            os.path.dirname(wildcards.slice)
        ].model_dump_json(),
        documents=lambda wildcards: os.path.basename(wildcards.slice),
        dataset=lambda wildcards, input: (
            f"--dataset {os.path.dirname(input.dataset)}" if input.dataset else ""
        ),
    message:
        "Slicing the first {params.documents} documents: {wildcards.slice}"
    shell:
        "python {input.script} --corpus {params.corpus:q} {params.dataset} --documents {params.documents}"
        " --output {output.parquet} > {log} 2>&1"


rule split_documents:
    input:
        script=SCRIPTS / "split_documents.py",
        collection=lambda wildcards: "results/slices/{}.jsonl".format(
            wildcards.split.rpartition("-")[0]
        ),
    output:
        "results/passages/{split}.jsonl",
    log:
        "results/logs/split_documents/{split}.log",
    benchmark:
        "results/benchmarks/split_documents/{split}.tsv"
    wildcard_constraints:
        # CORPUS/DOCUMENTS-TOKENS
        split=to_make(
            "[^/]+/(?:[0-9]+|all)-[0-9]+", SPLITS, "results/passages/{}.jsonl"
        ),
    conda:
        "../envs/ragatouille.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=4000,
        runtime=120,
    params:
        tokens=lambda wildcards: wildcards.split.rpartition("-")[2],
    message:
        "Splitting documents as RAGatouille splits them: {wildcards.split}"
    shell:
        "python {input.script} {input.collection} --tokens {params.tokens} --output {output} > {log} 2>&1"
