# Figures: read tables only; each is an SVG, a self-contained HTML page and the CSV behind it.

# One rule for each figure of the catalog: plot_memory_over_time, plot_memory_by_function, …
for figure, ENTRY in ALL_FIGURES.items():

    rule:
        name:
            f"plot_{figure}"
        input:
            script=SCRIPTS / "plot.py",
            library=figure_code(figure),
            tables=figure_tables(figure),
        output:
            # The caption is a template over params, so that it never goes stale.
            svg=report(
                f"{RESULTS}/figures/{figure}.svg",
                caption="captions/figure.rst",
                category=ENTRY.category,
                labels={"figure": figure.replace("_", " ")},
            ),
            html=f"{RESULTS}/figures/{figure}.html",
            csv=f"{RESULTS}/figures/{figure}.csv",
        log:
            f"{RESULTS}/logs/plot/{figure}.log",
        benchmark:
            f"{RESULTS}/benchmarks/plot/{figure}.tsv"
        conda:
            "../envs/analysis.yaml"
        threads: 1
        resources:
            machine=1,
            mem_mb=2000,
            runtime=15,
        params:
            figure=figure,
            tables=lambda wildcards, input: os.path.dirname(input.tables[0]),
            output=lambda wildcards, output: os.path.splitext(output.svg)[0],
            caption=ENTRY.caption,
        message:
            "Drawing {params.figure}"
        shell:
            "python {input.script} {params.figure} --tables {params.tables} --output {params.output} > {log} 2>&1"
