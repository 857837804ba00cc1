# How right the measuring is: memory of known size through every instrument (docs/measuring.md). A target of its own.

# Spikes that Snakemake's benchmark is shown: MIB-MILLISECONDS.
BENCHMARKED_SPIKES = ["4-5", "64-5", "512-5", "2048-5", "512-100", "512-1000"]


rule compile_spikes:
    input:
        script=SCRIPTS / "measure_spikes.py",
        library=library(*python_files("ground_truth"), "ground_truth/spike.c"),
    output:
        f"{RESULTS}/accuracy/spikes.so",
    log:
        f"{RESULTS}/logs/compile_spikes.log",
    benchmark:
        f"{RESULTS}/benchmarks/compile_spikes.tsv"
    conda:
        "../envs/colbert.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=500,
        runtime=5,
    message:
        "Compiling the spikes"
    shell:
        "python {input.script} compile --output {output} > {log} 2>&1"


rule measure_spikes:
    input:
        script=SCRIPTS / "measure_spikes.py",
        library=library(*python_files("ground_truth"), *python_files("measure")),
        spikes=rules.compile_spikes.output,
    output:
        f"{RESULTS}/accuracy/spikes.jsonl",
    log:
        f"{RESULTS}/logs/measure_spikes.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_spikes.tsv"
    conda:
        "../envs/colbert.yaml"
    threads: 1
    resources:
        # All of the machine, as a measured run.
        measured_run=1,
        machine=MACHINE,
        mem_mb=3000,
        runtime=15,
    params:
        interval=SETTINGS.measurement.sample_interval_seconds,
    message:
        "Measuring spikes of known size with every instrument"
    shell:
        "python {input.script} all --library {input.spikes} --interval {params.interval}"
        " --output {output} > {log} 2>&1"


rule benchmark_spike:
    input:
        script=SCRIPTS / "measure_spikes.py",
        library=library(*python_files("ground_truth"), *python_files("measure")),
        spikes=rules.compile_spikes.output,
    output:
        f"{RESULTS}/accuracy/benchmarked/{{spike}}.jsonl",
    log:
        f"{RESULTS}/logs/benchmark_spike/{{spike}}.log",
    benchmark:
        repeat(f"{RESULTS}/benchmarks/benchmark_spike/{{spike}}.tsv", 3)
    wildcard_constraints:
        spike="[0-9]+-[0-9]+",
    conda:
        "../envs/colbert.yaml"
    threads: 1
    resources:
        measured_run=1,
        machine=MACHINE,
        mem_mb=3000,
        runtime=5,
    params:
        mib=lambda wildcards: wildcards.spike.split("-")[0],
        milliseconds=lambda wildcards: wildcards.spike.split("-")[1],
    message:
        "Showing Snakemake's benchmark a spike: {params.mib} MiB for {params.milliseconds} ms"
    shell:
        # Appended: the job is repeated.
        "python {input.script} one --library {input.spikes} --mib {params.mib}"
        " --milliseconds {params.milliseconds} --shell $$ >> {output} 2> {log}"


rule tabulate_accuracy:
    input:
        script=SCRIPTS / "tabulate_accuracy.py",
        library=library("schemas.py", "run_record.py", *python_files("ground_truth")),
        spikes=rules.measure_spikes.output,
        levels=expand(rules.benchmark_spike.output, spike=BENCHMARKED_SPIKES),
    output:
        f"{RESULTS}/tables/measurement_accuracy.parquet",
    log:
        f"{RESULTS}/logs/tabulate_accuracy.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_accuracy.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=1000,
        runtime=5,
    params:
        # Not inputs: what a benchmark writes is nothing that Snakemake plans with.
        benchmarks=[
            f"{RESULTS}/benchmarks/benchmark_spike/{spike}.tsv"
            for spike in BENCHMARKED_SPIKES
        ],
    message:
        "Tabulating what each instrument saw of the spikes"
    shell:
        "python {input.script} {input.spikes} --levels {input.levels} --benchmarks {params.benchmarks}"
        " --output {output} > {log} 2>&1"


rule accuracy:
    input:
        rules.tabulate_accuracy.output,
        files_of_figures(ACCURACY_FIGURES),
    localrule: True
