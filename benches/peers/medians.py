"""Medians of what `benches/peers/run` measured, how far rounds differ, and how each peer compares with the first."""
import statistics
import sys

# What a kind of work is about.
MAIN = {"idle": "pss_bytes_each", "most": "most_per_second", "open": "p99_ms", "delivery": "p99_ms", "acknowledgement": "p99_ms"}
CONDITIONS = ("connections", "rate", "listeners", "sockets")
SHOWN = ("per_second", "p50_ms", "p99_ms", "server_us", "own_us", "written_bytes", "sleeps", "rss_kib", "rss_bytes_each", "core_percent")

works = {}
for line in open(sys.argv[1]):
    row = dict(word.split("=", 1) for word in line.split())
    kind, peer = row.pop("kind"), row.pop("peer")
    for count in ("failed", "disordered", "broken"):
        if row.get(count, "0") != "0":
            print(f"{peer}, {kind}: {row[count]} {count}")
    if "broken" in row:
        continue
    conditions = " ".join(f"{row[name]} {name}" for name in CONDITIONS if row.get(name, "0") != "0")
    works.setdefault((kind, conditions), {}).setdefault(peer, []).append(row)

for (kind, conditions), peers in works.items():
    main = MAIN.get(kind, "per_second")
    print(f"\n{kind} {conditions}: {main}")
    first = None
    for peer, rows in peers.items():
        median = lambda name: statistics.median(float(row[name]) for row in rows)
        values = [float(row[main]) for row in rows]
        first = first or median(main)
        spread = max(values) / min(values) if min(values) else float("nan")
        ratio = median(main) / first if first else float("nan")
        rest = "  ".join(f"{name} {median(name):g}" for name in SHOWN if name != main and name in rows[0])
        print(f"  {peer:13} {median(main):>10g}  {ratio:5.2f} times  spread {spread:.2f}  {rest}")
