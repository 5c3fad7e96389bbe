"""Published data sets, read from the layout they are distributed in; one file each.

A loader reads its data set into plain rows; ``retrieval`` and ``classification`` make the tasks of the benchmarks from
them. ``source.Dataset`` tells of every data set which files must lie where, where to get it and under which licence;
``published_retrieval.json`` and ``published_classification.json`` hold the results of papers, with provenance.
"""
