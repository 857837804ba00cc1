# IndexScope: where the memory goes when a late-interaction retrieval index is built.
#
# target            makes
# all (default)     the full figure set of the configuration in use: figures, tables, results/report.html
# index_memory      the same for the experiment index_memory alone
# torch_versions    results/torch_versions.html: which artifacts of an index change between PyTorch versions, which
#                   operator first, and whether search notices (docs/torch_versions.md)
# figures           results/figures/*.svg, *.html, *.csv
# tables            results/tables/*.parquet
# index_runs        results/index_runs/{system}/{size}/{profiler}/{repeat}/ (the measured runs, no analysis)
# profiler_cost     results/figures/profiler_disturbance.*: what measuring costs, from runs of its own in an order that
#                   changes from round to round; wants a quiet machine (docs/measuring.md)
# faiss_tables      results/faiss_tables.html: what precomputed tables of FAISS cost across segments, and what one shared
#                   copy saves (docs/faiss_tables.md)
# faiss_tables_rfc  results/figures/faiss_rfc.*: the RFC's 100 segments; needs 16 GiB of memory
# document_access   results/document_access.html: how a trainer should read its documents (docs/document_access.md)
# document_access_scale  results/figures/document_scale.*: an offset index of ten million documents
# remote_indexing   results/remote_indexing.html: PDFs to a searchable index on this machine, a cluster or a rented GPU, and
#                   what it costs (docs/remote_indexing.md)
# doctor            nothing: checks this machine, one thing a line with its remedy
# accuracy          how right the measuring is: spikes of known size through every instrument (docs/measuring.md)
# published_figures results/published/: the published study's tables, sentences and figures, checked against its
#                   logs; needs no run and no framework (docs/published.md)
# archive           results/archive.zip: all of it without hostnames and paths; `--config archive=FILE` draws it
# trends            results/trends/: campaigns side by side, and what changed between them; starts no run
#                   (both: docs/campaigns.md)
#
# Configuration: config/README.md. Results: results/README.md. Each rule's program is under workflow/scripts/.


configfile: f"{workflow.current_basedir}/config/default.yaml"


# What `snakemake --report report.zip` says first.
report: "rules/captions/workflow.rst"


# The first rule is the default, also where another Snakefile includes this one.
rule all:
    input:
        # Known once the configuration has been read, below.
        lambda wildcards: [f"{RESULTS}/report.html", *kept_files()],
    localrule: True


# One file per stage, in the order of the flow.
include: "rules/common.smk"
include: "rules/before_work.smk"


if ARCHIVE:

    # Tables come out of an archive: nothing is measured or tabulated.
    include: "rules/archive_unpack.smk"

else:

    include: "rules/corpora.smk"
    include: "rules/checkpoints.smk"
    include: "rules/index_runs.smk"
    include: "rules/artifacts.smk"
    include: "rules/tables.smk"
    include: "rules/explained.smk"
    include: "rules/accuracy.smk"
    include: "rules/profiler_cost.smk"
    include: "rules/traces.smk"
    include: "rules/published.smk"
    include: "rules/archive.smk"


include: "rules/figures.smk"
include: "rules/report.smk"
include: "rules/trends.smk"
include: "rules/doctor.smk"


if not ARCHIVE:

    include: "rules/torch_common.smk"
    include: "rules/torch_versions.smk"
    include: "rules/torch_tables.smk"
    include: "rules/faiss_common.smk"
    include: "rules/faiss_tables.smk"
    include: "rules/document_access_common.smk"
    include: "rules/document_access.smk"
    include: "rules/remote_common.smk"
    include: "rules/remote_indexing.smk"

    rule torch_versions:
        input:
            rules.report_torch_versions.output.page,
        localrule: True

    rule faiss_tables:
        input:
            rules.report_faiss_tables.output.page,
        localrule: True

    rule faiss_tables_rfc:
        input:
            files_of_figures(FAISS_RFC_FIGURES),
        localrule: True

    rule document_access:
        input:
            rules.report_document_access.output.page,
        localrule: True

    rule document_access_scale:
        input:
            files_of_figures(DOCUMENT_SCALE_FIGURES),
        localrule: True

    rule remote_indexing:
        input:
            rules.report_remote_indexing.output.page,
        localrule: True


rule index_memory:
    input:
        rules.report.output.page,
    localrule: True


rule figures:
    input:
        files_of_figures(FIGURES),
    localrule: True


rule tables:
    input:
        [f"{RESULTS}/tables/{table}.parquet" for table in TABLES],
    localrule: True


rule index_runs:
    input:
        expand("{run}/run.json", run=RUNS.values()),
    localrule: True


rule published_figures:
    input:
        published_files(),
        published_figure_files(),
    localrule: True


rule trends:
    input:
        rules.plot_trends.output,
    localrule: True
