# Figures: read tables only; each is an SVG, a self-contained HTML page and the CSV behind it.


rule plot_memory_over_time:
    input:
        script=SCRIPTS / "plot_memory_over_time.py",
        library=figure_code("memory_over_time"),
        tables=figure_tables("memory_over_time"),
    output:
        multiext("results/figures/memory_over_time", ".svg", ".html", ".csv"),
    log:
        "results/logs/plot_memory_over_time.log",
    benchmark:
        "results/benchmarks/plot_memory_over_time.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=15,
    params:
        figure=lambda wildcards, output: os.path.splitext(output[0])[0],
    message:
        "Drawing memory over time"
    shell:
        "python {input.script} {input.tables} --output {params.figure} > {log} 2>&1"


rule plot_memory_by_function:
    input:
        script=SCRIPTS / "plot_memory_by_function.py",
        library=figure_code("memory_by_function"),
        tables=figure_tables("memory_by_function"),
    output:
        multiext("results/figures/memory_by_function", ".svg", ".html", ".csv"),
    log:
        "results/logs/plot_memory_by_function.log",
    benchmark:
        "results/benchmarks/plot_memory_by_function.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=15,
    params:
        figure=lambda wildcards, output: os.path.splitext(output[0])[0],
    message:
        "Drawing memory by function"
    shell:
        "python {input.script} {input.tables} --output {params.figure} > {log} 2>&1"


rule plot_peak_memory:
    input:
        script=SCRIPTS / "plot_peak_memory.py",
        library=figure_code("peak_memory"),
        tables=figure_tables("peak_memory"),
    output:
        multiext("results/figures/peak_memory", ".svg", ".html", ".csv"),
    log:
        "results/logs/plot_peak_memory.log",
    benchmark:
        "results/benchmarks/plot_peak_memory.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=15,
    params:
        figure=lambda wildcards, output: os.path.splitext(output[0])[0],
    message:
        "Drawing the peak of each run"
    shell:
        "python {input.script} {input.tables} --output {params.figure} > {log} 2>&1"


rule plot_artifact_comparison:
    input:
        script=SCRIPTS / "plot_artifact_comparison.py",
        library=figure_code("artifact_comparison"),
        tables=figure_tables("artifact_comparison"),
    output:
        multiext("results/figures/artifact_comparison", ".svg", ".html", ".csv"),
    log:
        "results/logs/plot_artifact_comparison.log",
    benchmark:
        "results/benchmarks/plot_artifact_comparison.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=2000,
        runtime=15,
    params:
        figure=lambda wildcards, output: os.path.splitext(output[0])[0],
    message:
        "Drawing the artifact comparison"
    shell:
        "python {input.script} {input.tables} --output {params.figure} > {log} 2>&1"
