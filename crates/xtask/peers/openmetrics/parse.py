"""Reads an OpenMetrics page from standard input with the reference parser and says what it holds.

One JSON object a family, a line each: name, type, number of samples, exemplars. A page that the
parser refuses ends it with its reason on standard error.
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def main():
    for family in text_string_to_metric_families(sys.stdin.read()):
        exemplars = [
            {"labels": sample.exemplar.labels, "value": sample.exemplar.value}
            for sample in family.samples
            if sample.exemplar
        ]
        print(
            json.dumps(
                {
                    "name": family.name,
                    "type": family.type,
                    "samples": len(family.samples),
                    "created": sum(s.name.endswith("_created") for s in family.samples),
                    "exemplars": exemplars,
                }
            )
        )


main()
