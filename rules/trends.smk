# Trends: the runs of all campaigns that there are, compared; of tables on disk, so that nothing is measured.


rule tabulate_trends:
    input:
        script=SCRIPTS / "tabulate_trends.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/campaigns.py",
            "analysis/memory_comparison.py",
        ),
    output:
        "results/trends/trends.parquet",
    log:
        "results/logs/tabulate_trends.log",
    benchmark:
        "results/benchmarks/tabulate_trends.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    params:
        tables=lambda wildcards: campaign_tables(),
        content=lambda wildcards: campaign_tables_digest(),
    message:
        "Putting campaigns side by side"
    shell:
        "python {input.script} {params.tables} --output {output} > {log} 2>&1"


rule compare_campaigns:
    input:
        script=SCRIPTS / "compare_campaigns.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/campaigns.py",
            "analysis/memory_comparison.py",
        ),
        trends=rules.tabulate_trends.output,
    output:
        "results/trends/campaign_comparison.parquet",
    log:
        "results/logs/compare_campaigns.log",
    benchmark:
        "results/benchmarks/compare_campaigns.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=15,
    message:
        "Comparing campaigns"
    shell:
        "python {input.script} {input.trends} --output {output} > {log} 2>&1"


rule plot_trends:
    input:
        script=SCRIPTS / "plot_trends.py",
        library=library(
            "schemas.py",
            "run_record.py",
            "analysis/campaigns.py",
            "analysis/memory_comparison.py",
            "figures/common.py",
            "figures/files.py",
            "figures/trends.py",
        ),
        tables=[*rules.tabulate_trends.output, *rules.compare_campaigns.output],
    output:
        svg=report(
            "results/trends/trends.svg",
            caption="captions/figure.rst",
            category="Trends",
            labels={"figure": "trends"},
        ),
        html="results/trends/trends.html",
        csv="results/trends/trends.csv",
    log:
        "results/logs/plot_trends.log",
    benchmark:
        "results/benchmarks/plot_trends.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=15,
    params:
        output=lambda wildcards, output: os.path.splitext(output.svg)[0],
        caption="Peak memory and time of each campaign, in the order of time; rings mark what changed.",
    message:
        "Drawing trends"
    shell:
        "python {input.script} {input.tables} --output {params.output} > {log} 2>&1"
