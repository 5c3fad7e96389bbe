"""The training loop, the tasks it trains, their losses, and checkpoints.

`task` is the contract and `loop` the one loop; `alignment` (text and music), `m3_task` and `htcl_task` are tasks,
`build` makes the first; `config` holds every setting.
"""
