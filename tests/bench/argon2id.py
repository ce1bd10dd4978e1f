"""The bare program beside the first sign-in: argon2id checks in 2 threads, and nothing else.

python -m tests.bench.argon2id SECONDS
"""

from __future__ import annotations

import json
import sys
import threading
import time

from mailnode.cred.passwords import hash_password, password_matches

THREADS = 2  # as many as a node has for passwords


def main() -> None:
    seconds = float(sys.argv[1])
    stored, counts = hash_password("pw"), [0] * THREADS
    began, cpu = time.monotonic(), time.process_time()

    def check(which: int) -> None:
        while time.monotonic() < began + seconds:
            assert password_matches(stored, "pw")
            counts[which] += 1

    threads = [threading.Thread(target=check, args=(which,)) for which in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, checks = time.monotonic() - began, sum(counts)
    cpu = time.process_time() - cpu
    print(json.dumps({"session_rate": checks / took, "cpu_1000": cpu / checks * 1000}))


if __name__ == "__main__":
    main()
