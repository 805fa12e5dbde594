from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from bridge import metrics

LABELS = {"direction", "outcome", "kind", "side", "call", "reason", "state", "of"}


def ours() -> dict[str, list[str]]:
    """Label names by metric."""
    collectors = [
        value
        for value in vars(metrics).values()
        if getattr(value, "_name", "").startswith("bridge_")
    ]
    return {collector._name: list(collector._labelnames) for collector in collectors}


def test_labels_are_closed_sets_that_cannot_carry_ids_or_text() -> None:
    assert ours()
    assert {label for labels in ours().values() for label in labels} <= LABELS


def test_every_metric_is_on_the_registry_with_its_unit_and_help() -> None:
    described = {family.name: family for family in metrics.REGISTRY.collect()}
    assert set(ours()) <= set(described)
    for name in ours():
        assert described[name].documentation.endswith(".")


def test_exposition_is_what_prometheus_reads() -> None:
    metrics.MESSAGES.labels(metrics.TO_AGENT, "delivered").inc()
    body, content_type = metrics.exposition()
    assert content_type.startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    samples = {
        tuple(sorted(sample.labels.items())): sample.value
        for sample in families["bridge_messages"].samples
    }
    assert samples[("direction", "to_agent"), ("outcome", "delivered")] >= 1
    assert "process_resident_memory_bytes" in families
    assert not [name for name in families if name.endswith("_created")]


def test_known_series_exist_before_their_first_failure() -> None:
    sample = metrics.REGISTRY.get_sample_value
    for direction in metrics.DIRECTIONS:
        labels = {"direction": direction}
        assert sample("bridge_messages_total", {**labels, "outcome": "failed"}) is not None
        assert sample("bridge_message_seconds_count", labels) is not None


def test_a_gauge_may_be_asked_when_it_is_read() -> None:
    waits = [7.0]
    age = metrics.QUEUE_AGE_SECONDS.labels(metrics.TO_AGENT)
    age.set_function(lambda: waits[0])
    try:
        read = metrics.REGISTRY.get_sample_value
        assert read("bridge_queue_age_seconds", {"direction": "to_agent"}) == 7.0
        waits[0] = 0.0
        assert read("bridge_queue_age_seconds", {"direction": "to_agent"}) == 0.0
    finally:
        metrics.QUEUE_AGE_SECONDS.remove(metrics.TO_AGENT)
        metrics.QUEUE_AGE_SECONDS.labels(metrics.TO_AGENT)
