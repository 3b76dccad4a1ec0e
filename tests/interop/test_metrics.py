"""Prometheus' own parsers read what the service shows."""

import json
import os
import unittest

import requests
from prometheus_client import parser as text
from prometheus_client.openmetrics import parser as openmetrics

from service import PATIENCE_SECONDS, Service, new_session


class Metrics(unittest.TestCase):
    """A scrape of a service that has done something."""

    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)
        session = new_session()
        cls.service.post("hello", session)
        cls.service.history(session)
        requests.get(cls.service.url + "/nowhere", timeout=PATIENCE_SECONDS)
        with open(os.path.join(cls.service.directory, "data", "operator.json"), encoding="utf-8") as file:
            operator = json.load(file)["operator"]
        cls.metrics = f"{operator}/metrics"
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        cls.scrape = requests.get(cls.metrics, headers=accept, timeout=PATIENCE_SECONDS)
        cls.families = {
            family.name: family for family in openmetrics.text_string_to_metric_families(cls.scrape.text)
        }

    def samples(self, family, **labels):
        """The values of a family's samples that have these labels."""
        samples = self.families[family].samples
        return [sample.value for sample in samples if labels.items() <= sample.labels.items()]

    def test_a_scrape_is_openmetrics_and_says_so(self):
        self.assertEqual(self.scrape.status_code, 200)
        self.assertIn("application/openmetrics-text", self.scrape.headers["Content-Type"])
        self.assertGreater(len(self.families), 30)
        for name, family in self.families.items():
            self.assertTrue(name.startswith(("amoiq_", "process_")), name)
            self.assertTrue(family.documentation, name)
            self.assertIn(family.type, ("counter", "gauge", "histogram"), name)

    def test_whoever_does_not_ask_for_openmetrics_gets_the_same_as_text(self):
        scrape = requests.get(self.metrics, timeout=PATIENCE_SECONDS)
        self.assertIn("text/plain; version=0.0.4", scrape.headers["Content-Type"])
        names = {family.name for family in text.text_string_to_metric_families(scrape.text)}
        self.assertLessEqual(set(self.families), names)

    def test_requests_are_counted_by_their_routes_pattern(self):
        self.assertEqual(
            self.samples("amoiq_http_requests", route="/webchat/message", method="POST", status="200"), [1.0]
        )
        self.assertEqual(self.samples("amoiq_http_requests", route="unmatched", status="404"), [1.0])
        self.assertEqual(
            self.samples("amoiq_http_request_duration_seconds", route="/webchat/message", le="+Inf"), [1.0]
        )

    def test_the_metrics_count_what_the_service_did(self):
        self.assertEqual(self.samples("amoiq_store_writable"), [1.0])
        self.assertGreaterEqual(self.samples("amoiq_store_appends")[0], 2)
        self.assertEqual(self.samples("amoiq_actors", kind="session"), [1.0])
        self.assertGreater(self.samples("process_resident_memory_bytes")[0], 1_000_000)
