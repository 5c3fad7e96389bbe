"""Networks, their sizes, and loading and saving of their weights.

`families` is the table of model families, `config` their sizes, `towers` what each model does, `registry` where
published weights are, `weights` reads and writes them, `packed` and `mert_cpu` make them fast on a CPU.
"""
