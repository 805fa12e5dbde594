"""Chaos: a seeded run of several services on the sandbox in which everything goes wrong.

    python -m tests.chaos --seed 7            one full seed: at most 6 minutes on 2 cores
    python -m tests.chaos --seeds 1-20        one after the other
    python -m tests.chaos --seed 7 --quick    at most 2 minutes
    python -m tests.chaos --seed 7 --real-quotas    small, at the quotas that Connect and Slack have
    python -m tests.chaos --takeover                nothing but one kill -9; also with --real-quotas

`plan` draws from the seed who writes what and when, and which faults come when; `world` starts
everything; `people` write; `faults` strike; `watch` notes who owns what; `evidence` turns the
sandbox's records into plain values, `verdict` judges those, `ownership` measures, `report` prints.
"""
