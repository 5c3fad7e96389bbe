"""Batch work, and what it leaves behind: workers, ledgers, output folders, vector cache, identities of arrays.

`outputs` and `batch` are where to begin; `atomic` writes every file of the project.
"""
