# Runs for other viewers: a Chrome trace (Perfetto) and a speedscope file, beside the report that links them.


rule export_trace:
    input:
        script=SCRIPTS / "export_trace.py",
        library=library(
            "run_record.py", "analysis/ledger.py", "analysis/trace_export.py"
        ),
        run=f"{SPANS_RUN}/run.json",
        spans=f"{SPANS_RUN}/spans.jsonl",
        curve=f"{SPANS_RUN}/memory_curve.csv",
    output:
        trace=f"{TRACE}.trace.json",
        speedscope=f"{TRACE}.speedscope.json",
    log:
        f"{RESULTS}/logs/export_trace/{{system}}/{{documents}}/{{repeat}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/export_trace/{{system}}/{{documents}}/{{repeat}}.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=500,
        runtime=15,
    params:
        directory=lambda wildcards, input: os.path.dirname(input.run),
        prefix=lambda wildcards, output: output.trace.removesuffix(".trace.json"),
    message:
        "Exporting a run for other viewers: {wildcards.system}/{wildcards.documents}"
    shell:
        "python {input.script} {params.directory} --output {params.prefix} > {log} 2>&1"
