"""Published data sets, read from the layout they are distributed in; one file each.

A loader reads its data set once into plain rows; what a benchmark asks of them (retrieval, classification) is made from
the rows. ``sources`` says for every data set what must lie where, where to get it and under which licence;
``published_retrieval.json`` and ``published_classification.json`` hold what papers report, with provenance.
"""
