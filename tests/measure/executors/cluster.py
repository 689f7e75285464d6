"""Two machines of one CPU each, as processes here, on the loopback address: the test's cluster.

Prints the head's address when both are there, and ends them when its input ends.
"""

from __future__ import annotations

import importlib
import sys
import time

NODE = {
    "num_cpus": 1,
    "node_ip_address": "127.0.0.1",
    "include_dashboard": False,
    "object_store_memory": 80 * 2**20,
}


def main() -> None:
    cluster = importlib.import_module("ray.cluster_utils").Cluster()
    for _ in range(2):
        try:
            cluster.add_node(**NODE)
        except Exception:  # a busy machine did not start it in Ray's 30 seconds
            time.sleep(5)
            cluster.add_node(**NODE)
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
