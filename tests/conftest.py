"""What every test starts from: nothing of this machine's environment, and steady examples."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_OF_THE_MACHINE = ("AWS_", "BRIDGE_", "CONNECT_", "REDIS_", "SLACK_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

for _name in list(os.environ):
    if _name.startswith(_OF_THE_MACHINE) or _name.lower() in _PROXIES:
        del os.environ[_name]
# Processes that tests start inherit these: botocore must neither find a profile nor ask a network.
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["AWS_CONFIG_FILE"] = os.devnull
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull

# A busy machine is no reason to fail.
_SLOW = [HealthCheck.too_slow]
settings.register_profile(
    "ci", derandomize=True, max_examples=50, deadline=None, suppress_health_check=_SLOW
)
settings.register_profile("local", max_examples=100, deadline=None, suppress_health_check=_SLOW)
settings.register_profile("long", max_examples=5000, deadline=None, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "local"))
