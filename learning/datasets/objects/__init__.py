"""Objects to train on, made from random parts.

From the parts to the pool: `shapes` and `lofts` are bodies, `parts` gives them everyday proportions. `cad`, `hollow`,
`household`, `packages`, `sheets_and_tools` and `near_symmetric` (with `telling_marks`) are kinds of things, and
`random_objects` draws one of any kind from a seed. `training_pool` makes the objects, hands and backgrounds of a run,
and reads what users mix in; `mesh_pool` holds them on the device; `pool_renewal` replaces objects while training runs,
with those that `object_processes` make.
"""
