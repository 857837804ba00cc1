# Instead of all that measures and tabulates, where the configuration names an archive: its tables.


rule unpack_archive:
    input:
        script=SCRIPTS / "unpack_archive.py",
        library=library("archive.py", "run_record.py"),
        # Ancient: the output is named by the digest of what is in it.
        archive=ancient(SETTINGS.archive),
    output:
        tables=[f"{RESULTS}/tables/{table}.parquet" for table in TABLES],
        configuration=CONFIGURATION,
        manifest=f"{RESULTS}/MANIFEST.json",
    log:
        f"{RESULTS}/logs/unpack_archive.log",
    benchmark:
        f"{RESULTS}/benchmarks/unpack_archive.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        machine=1,
        mem_mb=500,
        runtime=15,
    params:
        folder=lambda wildcards, output: os.path.dirname(output.manifest),
    message:
        "Unpacking {input.archive} to {params.folder}"
    shell:
        "python {input.script} {input.archive:q} --output {params.folder} > {log} 2>&1"
