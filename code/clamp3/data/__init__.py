"""What training reads from disk: records, views of music, packed patches, feature files, tar shards.

`records` reads a JSONL, `views` and `music_files` find what training wants of each piece, `patch_pack` keeps it packed.
"""
