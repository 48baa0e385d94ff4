"""Segments archives: folders, DICOM trees, lists and URLs in, Parquet files out.

``python -m causalclipseg.archive INPUT... --prompt SENTENCE --output DIR`` runs on a pool of processes, or with ``--ray`` on a Ray
cluster; both write the same rows. It needs ``pip install causalclipseg[archive]``.

One row a frame and prompt; :data:`causalclipseg.archive.rows.SCHEMA` lists the columns. What is done is not done again: the same
command goes on where it was stopped.
"""
