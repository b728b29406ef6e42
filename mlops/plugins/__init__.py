"""What MLflow itself loads: stores for ``mlops:///<workspace>`` and tags for runs of code that is not ours.

MLflow imports these modules whenever it is imported, by anybody in the environment. So nothing here imports
MLflow, or anything else outside the standard library, at module level, and nothing does anything unless the
variables in ``mlops.plugins.variables`` are set, a workspace's URI is used or a run of ours is open.
"""
