"""Runs the named Python tests, and prints a line for each and one for all."""

import sys
import time
import unittest


class Report(unittest.TestResult):
    """Counts and prints."""

    def __init__(self):
        super().__init__()
        self.count = {"passed": 0, "failed": 0}
        self.began = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def _line(self, word, test):
        took = round(1000 * (time.monotonic() - self.began))
        print(f"{word} {test.id()} ({took} ms)", flush=True)

    def _failed(self, test, error):
        self.count["failed"] += 1
        self._line("FAILED", test)
        print(self._exc_info_to_string(error, test), flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.count["passed"] += 1
        self._line("ok    ", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._failed(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._failed(test, err)


def main(names):
    """Runs modules; whether all of them hold."""
    report = Report()
    unittest.defaultTestLoader.loadTestsFromNames(names).run(report)
    print(f"{report.count['passed']} passed, {report.count['failed']} failed")
    return report.count["failed"] == 0 and report.count["passed"] > 0


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
